"""Documents as TOML and YAML: what is read, what is refused, and in which words."""

from __future__ import annotations

import json
import sys
import time
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.config.formats import Format, format_of, parse_text
from serviceradar_security.config.problems import Problems
from serviceradar_security.config.strict import MAX_DEPTH
from serviceradar_security.config.toml_text import _OPAQUE, MAX_TOML_BYTES
from serviceradar_security.config.yaml_text import MAX_YAML_BYTES
from serviceradar_security.errors import ConfigError
from tests.config.documents import as_toml, bases, patient, with_frames_left, without_nulls

CANARY = "canary-do-not-show"


def read(text: bytes | str, format_: Format) -> dict[str, object]:
    """Read a document that must be accepted."""
    problems = Problems()
    document = parse_text(text, problems, format=format_)
    assert not problems.listed
    return document


def refusal(text: bytes | str, format_: Format) -> str:
    """Read a document that must be refused, and give the one line that says why."""
    problems = Problems()
    parse_text(text, problems, format=format_)
    assert problems
    message = problems.message("the file")
    assert message.isprintable()
    assert len(message) < 1000
    return message


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("/etc/serviceradar/core.json", "json"),
        ("config/flowgger.toml", "toml"),
        ("OTEL.TOML", "toml"),
        ("values.yaml", "yaml"),
        ("values.YML", "yaml"),
        ("core", "json"),
        ("toml", "json"),
        (".toml", "json"),
        ("a.toml.json", "json"),
        ("a.toml/core", "json"),
        ("core.conf", "json"),
        ("", "json"),
    ],
)
def test_format_of(name: str, format_: Format) -> None:
    """The end of a name tells the format, and JSON is what is left."""
    assert format_of(name) == format_
    assert format_of(PurePosixPath(name)) == format_


@pytest.mark.parametrize("format_", ["JSON", "", "ini", None, 3, []])
def test_unknown_format(format_: Any) -> None:
    """A format that there is not is the caller's fault, and the message lists those there are."""
    with pytest.raises(ConfigError, match="there are: json, toml, yaml"):
        parse_text("{}", Problems(), format=format_)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("", {}),
        (
            'a = 1\nb = "x"\n[c.d]\ne = [1, 2.5, true]',
            {"a": 1, "b": "x", "c": {"d": {"e": [1, 2.5, True]}}},
        ),
        (
            "[[checks]]\nname = 'a'\n[[checks]]\nname = 'b'",
            {"checks": [{"name": "a"}, {"name": "b"}]},
        ),
        ("a = 0xff\nb = 0o17\nc = 1_000\nd = -0", {"a": 255, "b": 15, "c": 1000, "d": 0}),
        ("a.b.c = 1\na.b.d = 2", {"a": {"b": {"c": 1, "d": 2}}}),
        ('a = \'\'\'[[[[\'\'\' # [[[[\r\nb = """\\"""[[""""', {"a": "[[[[", "b": '"""[["'}),
        ("# " + "." * 500 + "\na = '" + "." * 500 + "'", {"a": "." * 500}),
        ("a = [" + "1.5, " * 300 + "]", {"a": [1.5] * 300}),
        ("a = " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), None),
        (".".join(["a"] * MAX_DEPTH) + " = 1", None),
        ('"\\U0001F98A" = "\\u00e9"', {"\U0001f98a": "\u00e9"}),
        ("a = 9223372036854775808", {"a": 9223372036854775808}),
    ],
)
def test_toml(text: str, document: dict[str, object] | None) -> None:
    """TOML is read as the JSON document that it says, from text and from bytes."""
    made = read(text, "toml")
    assert made == read(text.encode(), "toml")
    assert json.loads(json.dumps(made)) == made
    assert document is None or document == made


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = 1\na = 2", "defined twice: keep one"),
        ("[a]\n[a]", "not TOML at line 2 column 3: a key or table is defined twice"),
        ("a = {b = 1, b = 2}", "defined twice"),
        ("a.b = 1\n[a]\nc = 1", "defined twice"),
        ("a = 1\n[a.b]", "defined twice"),
        ("a = 1979-05-27", "a: is a date or time, which JSON does not have"),
        ("a = [1979-05-27T07:32:00Z]", "a[0]: is a date or time"),
        ("a = 07:32:00", "a: is a date or time"),
        ("a = inf", "a: is no finite 64-bit number"),
        ("a = {b = nan}", "a.b: is no finite 64-bit number"),
        ("a = 1e400", "a: is no finite 64-bit number"),
        ("a = " + "9" * 400, "a: is no finite 64-bit number"),
        ("a = " + "9" * 5000, "no finite 64-bit number"),
        ("a = 0x" + "f" * 400, "a: is no finite 64-bit number"),
        ('a = "\\ud800"', "not TOML at line 1"),
        ("a = [1", "not TOML at its end: unclosed array"),
        ('{"a": 1}', "not TOML at line 1 column 1"),
        ("a = [" * 100_000, "nested deeper than 100"),
        ("a = " + "{a = " * 90_000, "nested deeper than 100"),
        ("a = " + "[" * MAX_DEPTH + "]" * MAX_DEPTH, "nested deeper than 100"),
        (".".join(["a"] * 200_000) + " = 1", "nested deeper than 100"),
        ("[" + " . ".join(["'a'"] * 200) + "]", "nested deeper than 100"),
        (
            "[" + ".".join(["a"] * 60) + "]\n" + ".".join(["b"] * 60) + " = 1",
            "nested deeper than 100",
        ),
        (b"\xef\xbb\xbfa = 1", "byte order mark"),
        (b"a = '\xff'", "not UTF-8 at offset 5"),
        ("a = 1".encode("utf-16"), "UTF-16"),
        ("a = '" + "x" * MAX_TOML_BYTES + "'", f"larger than {MAX_TOML_BYTES} bytes"),
    ],
)
def test_toml_refused(text: bytes | str, words: str) -> None:
    """What JSON cannot say, and what breaks a limit, is refused with place and remedy."""
    assert words in refusal(text, "toml")


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("{}", {}),
        ("---\na: 1\n...\n", {"a": 1}),
        (
            "a: 1\nb: [x, 2.5, true]\nc: {d: null}",
            {"a": 1, "b": ["x", 2.5, True], "c": {"d": None}},
        ),
        ("a:\nb: ''\nc: \"null\"\nd: 'true'", {"a": None, "b": "", "c": "null", "d": "true"}),
        (
            "a: yes\nb: no\nc: on\nd: off\nyes: y",
            {"a": "yes", "b": "no", "c": "on", "d": "off", "yes": "y"},
        ),
        (
            "a: 1:30:00\nb: 2024-01-01\nc: 1_000\nd: 0b11",
            {"a": "1:30:00", "b": "2024-01-01", "c": "1_000", "d": "0b11"},
        ),
        ("a: -0\nb: 1e3\nc: 1.5E-3\nd: 1.", {"a": 0, "b": 1000.0, "c": 0.0015, "d": 1.0}),
        ('a: |\n  x\n  y\nb: >-\n  x\n  y\nc: "1"', {"a": "x\ny\n", "b": "x y", "c": "1"}),
        ("a: [{b: 1}, [], {}]", {"a": [{"b": 1}, [], {}]}),
        ("'<<': 1\n\"~\": 2\n'1': 3", {"<<": 1, "~": 2, "1": 3}),
        (
            "a: unix:/run/x.sock # comment\nb: spiffe://td/x",
            {"a": "unix:/run/x.sock", "b": "spiffe://td/x"},
        ),
        ("a: " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), None),
        ('a: "\\U0001F98A\\xe9"', {"a": "\U0001f98a\u00e9"}),
        ("a: " + "9" * 308, {"a": 10**308 - 1}),
    ],
)
def test_yaml(text: str, document: dict[str, object] | None) -> None:
    """YAML is read as the JSON document that it says, without the guesses of YAML 1.1."""
    made = read(text, "yaml")
    assert made == read(text.encode(), "yaml")
    assert json.loads(json.dumps(made)) == made
    assert document is None or document == made


@pytest.mark.parametrize(
    "scalar",
    [
        "~",
        "Null",
        "NULL",
        "True",
        "TRUE",
        "False",
        "FALSE",
        "+1",
        "007",
        "-01",
        "0o7",
        "0x1F",
        ".5",
        "+1.5",
        "-.5e1",
        ".inf",
        "-.Inf",
        "+.INF",
        ".nan",
        ".NaN",
        "01.5",
    ],
)
@pytest.mark.parametrize("written", ["a: {}", "a: [{}]", "{}: 1", "a: {{b: {}}}"])
def test_scalar_that_readers_differ_on(scalar: str, written: str) -> None:
    """What only the core schema takes for more than a text is refused, as value and as name."""
    assert "readers differ" in refusal(written.format(scalar), "yaml")
    assert read(written.format(json.dumps(scalar)), "yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty: a configuration is one object"),
        ("# nothing", "is empty"),
        ("---", "is a single value"),
        ("x", "is a single value at line 1 column 1"),
        ("- a", "is a list at line 1 column 1"),
        ("a: 1\na: 2", "a: occurs twice"),
        ("x: [{a: 1, 'a': 2}]", "x[0].a: occurs twice"),
        ("a: 1\n---\nb: 1", "a second document at line 2"),
        ("%YAML 1.1\n---\na: 1", "a directive at line 1"),
        ("%TAG ! tag:x,2000:\n---\na: 1", "a directive at line 1"),
        ("a: &x 1", "an anchor at line 1 column 4"),
        ("a: &x {b: 1}", "an anchor"),
        ("&x a: 1", "an anchor"),
        ("a: &x [1]\nb: *x", "an anchor at line 1"),
        ("a: *x", "an alias at line 1 column 4"),
        ("*x : 1", "an alias"),
        ("a: !!str 1", "a tag at line 1 column 4"),
        ("a: ! x", "a tag"),
        ("a: !!python/object/apply:os.system ['true']", "a tag"),
        ("!!map {a: 1}", "a tag"),
        ("<<: {a: 1}", "a merge key at line 1"),
        ("a: {<<: {b: 1}}", "a merge key"),
        ("1: a", "a name that is no text at line 1 column 1"),
        ("true: a", "a name that is no text"),
        ("?\n: a", "a name that is no text"),
        ("? [a]\n: b", "a name that is no text"),
        ("? {a: 1}\n: b", "a name that is no text"),
        ("a: 1e400", "a: is no finite 64-bit number"),
        ("a: " + "9" * 400, "a: is no finite 64-bit number"),
        ("a: " + "9" * 100_000, "a: is no finite 64-bit number"),
        ('a: "\\ud800"', "is not YAML at line 1"),
        ("a: [1", "is not YAML at line"),
        ("a: b: c", "is not YAML at line 1 column 5: mapping values are not allowed"),
        ("\ta: 1", "is not YAML at line 1 column 1"),
        ("a: \x01", "a character that YAML does not allow"),
        ("a: " + "[" * 200_000, "nested deeper than 100"),
        ("a: " + "{a: " * 100_000, "nested deeper than 100"),
        ("- " * 100_000, "is a list"),
        ("a:\n " + "- " * 100_000, "nested deeper than 100"),
        (b"\xef\xbb\xbfa: 1", "byte order mark"),
        (b"a: '\xff'", "not UTF-8 at offset 4"),
        ("a: 1".encode("utf-16"), "UTF-16"),
        ("a: " + "x" * MAX_YAML_BYTES, f"larger than {MAX_YAML_BYTES} bytes"),
    ],
)
def test_yaml_refused(text: bytes | str, words: str) -> None:
    """What has no one counterpart in JSON is refused with place and remedy."""
    assert words in refusal(text, "yaml")


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        (f'password = "{CANARY}" x', "toml"),
        (f'password = "{CANARY}\npassword = 1', "toml"),
        (f"password = {CANARY}", "toml"),
        (f'[a]\npassword = "{CANARY}"\n[a]', "toml"),
        (f"password: '{CANARY}", "yaml"),
        (f"password: &{CANARY} x", "yaml"),
        (f"password: *{CANARY}", "yaml"),
        (f"password: !{CANARY} x", "yaml"),
        (f"password: {CANARY}: x", "yaml"),
        (f"password: [{CANARY}", "yaml"),
        (f'password: "\\q{CANARY}"', "yaml"),
        (f"- {CANARY}", "yaml"),
        (CANARY, "yaml"),
    ],
)
def test_no_value_is_shown(text: str, format_: Format) -> None:
    """A refusal holds no value of the document."""
    assert CANARY not in refusal(text, format_)


@patient
@given(bases())
def test_one_document_in_every_format(base: dict[str, object]) -> None:
    """A document that is written as JSON, YAML or TOML is read as the same."""
    assert base == read(json.dumps(base), "json")
    assert base == read(json.dumps(base, ensure_ascii=False), "yaml")
    assert base == read(yaml.safe_dump(json.loads(json.dumps(base)), allow_unicode=True), "yaml")
    filled = without_nulls(base)
    assert isinstance(filled, dict)
    assert filled == read(as_toml(filled), "toml")


@patient
@given(
    st.sampled_from(["toml", "yaml"]),
    st.text(alphabet="{}[]\"':,=#.&*!|>-~\\u0d8 \n\t%@ae1_", max_size=40) | st.binary(max_size=40),
)
def test_any_text(format_: Format, text: bytes | str) -> None:
    """Any text gives a JSON document, or problems."""
    problems = Problems()
    document = parse_text(text, problems, format=format_)
    if not problems:
        assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_yaml_agrees_with_a_safe_loader() -> None:
    """What is read of a document of plain kinds is what PyYAML's own loader makes of it."""
    text = "a: [1, -2, {b: x y, c: null}]\nd:\n  - e: 'yes'\n    f: true\n  - []\n"
    assert yaml.safe_load(text) == read(text, "yaml")


def test_without_pyyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its extra, YAML is refused with the line that installs it; JSON and TOML are read."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert "pip install 'serviceradar-security[yaml]'" in refusal("a: 1", "yaml")
    assert read("a = 1", "toml") == read('{"a": 1}', "json") == {"a": 1}


def test_pyyaml_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyYAML that lacks its fast parser is refused: there is one reader of YAML, not two."""
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert "without libyaml" in refusal("a: 1", "yaml")


def test_deep_caller() -> None:
    """A caller near the limit of recursion gets a refusal, not a traceback."""
    text = "a = " + "[" * 90 + "]" * 90
    assert "nested deeper" in with_frames_left(120, lambda: refusal(text, "toml"))


# What begins strings and does not end them, or looks as if.
UNENDED = [
    *('\\"', '\\"""\n', '"\n', "'\n", "'''\\", '"""\\', '"', "'", "''x\n", '""x\n', '"\\'),
    *("'''", '"""', "''", '""', "#\n", '#"\n', '"\\"', "'\\'", 'a="""\\\n', "a='\n", 'a="\\\r\n'),
]


@pytest.mark.parametrize("part", UNENDED, ids=ascii)
@pytest.mark.parametrize("before", ["", "a = ", '"', "'", '"""', "'''", "\\", "'a' = ["], ids=ascii)
def test_toml_strings_without_end(before: str, part: str) -> None:
    """However often a string begins and does not end, nothing of the text is scanned again.

    That is so if no attempt at a string or a comment fails: then no beginning of one is left.
    """
    text = (before + part * 200).encode()
    assert not set(_OPAQUE.sub(b"", text)) & set(b"\"'#")


@patient
@given(st.text("\"'\\#\n\ra=[", max_size=60))
def test_any_toml_string_is_scanned_once(text: str) -> None:
    """No attempt at a string or a comment fails, whatever the text."""
    assert not set(_OPAQUE.sub(b"", text.encode())) & set(b"\"'#")


@pytest.mark.parametrize("part", UNENDED, ids=ascii)
def test_toml_of_the_largest_size(part: str) -> None:
    """A hostile text of the largest size is judged in time: quadratic, it would take minutes."""
    text = part * (MAX_TOML_BYTES // len(part))
    begun = time.process_time()
    parse_text(text, Problems(), format="toml")
    assert time.process_time() - begun < 20
