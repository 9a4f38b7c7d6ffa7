"""Strict JSON: what is read, what is refused, and in which words."""

from __future__ import annotations

import enum
import itertools
import json
import math
import sys
from collections import OrderedDict, UserDict
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.config.document import (
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    MAX_INTEGER_DIGITS,
    copy_document,
    freeze,
    kind_of,
    read_document,
)
from serviceradar_security.config.json_text import _brackets_outside_strings
from serviceradar_security.config.problems import MAX_REPORT_CHARACTERS
from serviceradar_security.config.strict import nests_too_deep
from serviceradar_security.errors import ConfigError
from tests.config.documents import bases, patient, spelled

CANARY = "canary-do-not-show"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


def refused(data: Any) -> ConfigError:
    """Read a document that must be refused."""
    with pytest.raises(ConfigError) as caught:
        read_document(data, source="the file")
    return caught.value


def nested(depth: int, *, lists: bool = False) -> str:
    """Write a document that is nested as deep as that."""
    inner = depth - 1
    return (
        '{"a":' + "[" * inner + "]" * inner + "}" if lists else '{"a":' * inner + "{}" + "}" * inner
    )


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("{}", {}),
        (' \t\r\n{"a" : 1}\n', {"a": 1}),
        ('{"a": -0.5e-3, "b": 1E2}', {"a": -0.5e-3, "b": 100.0}),
        ('{"a": 1e-999}', {"a": 0.0}),
        ('{"a": 5368709120}', {"a": 5368709120}),
        ('{"a": 9007199254740993}', {"a": 9007199254740993}),
        ('{"a": ' + "9" * MAX_INTEGER_DIGITS + "}", {"a": 10**MAX_INTEGER_DIGITS - 1}),
        ('{"a": 0.' + "1" * 400 + "}", {"a": 0.1111111111111111}),
        ('{"a": "' + "1" * 400 + '"}', {"a": "1" * 400}),
        ('{"a": 1.7976931348623157e308}', {"a": sys.float_info.max}),
        ('{"\\ud83e\\udd8a": "\\u00e9\\u0000"}', {"\U0001f98a": "\u00e9\0"}),
        ('{"a": "\\\\ud800"}', {"a": "\\ud800"}),
        ('{"a": "\ufeff"}', {"a": "\ufeff"}),
        ('{"a": "[[{{\\"]]"}', {"a": '[[{{"]]'}),
        ('{"a": {"b": 1}, "c": {"b": 1}}', {"a": {"b": 1}, "c": {"b": 1}}),
        ('{"Name": 1, "name": 2}', {"Name": 1, "name": 2}),
        (
            '{"listen": ":50051", "a:" : ":", ":": "\\":"}',
            {"listen": ":50051", "a:": ":", ":": '":'},
        ),
        ('{"a": {":": {}}, "b"\n:\t[": ", "\\\\"]}', {"a": {":": {}}, "b": [": ", "\\"]}),
        (
            '{"id": "4e500", "sum": "9e0001", "a": 1E+2}',
            {"id": "4e500", "sum": "9e0001", "a": 100.0},
        ),
        ('{"a": ' + "1" * 250 + ".5}", {"a": float("1" * 250)}),
    ],
)
def test_read(text: str, document: dict[str, object]) -> None:
    """Strict JSON is read alike from text and from bytes, numbers and characters intact."""
    assert document == read_document(text)
    assert document == read_document(text.encode())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON at line 1 column 1"),
        ("", "not JSON at line 1 column 1"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        ('\ufeff{"a": 1}', "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-le"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), "UTF-16"),
        ('{"a": 1}'.encode("utf-32"), "UTF-16 or UTF-32"),
        ('{"a": 1}'.encode("utf-32-le"), "UTF-16 or UTF-32"),
        ('{"a": 1}'.encode("utf-32-be"), "UTF-16 or UTF-32"),
        (b'{"a": "\xff"}', "not UTF-8 at offset 7"),
        (b'{"a": "\xc0\x80"}', "not UTF-8 at offset 7"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8 at offset 7"),
        ('{"a": "\ud800"}', "not UTF-8 at offset 7"),
        ("[]", "is a list: a configuration is one JSON object"),
        ("null", "is null"),
        ("3", "is a number"),
        ("3.5", "is a number"),
        ("true", "is a boolean"),
        ('"x"', "is a text"),
        ("{} {}", "trailing data at line 1 column 4"),
        ("{}x", "trailing data at line 1 column 3"),
        ("{}\0", "UTF-16 or UTF-32"),
        ('{"a": 1}\n]', "trailing data at line 2 column 1"),
        ('{"a": 1,}', "not JSON at line 1"),
        ('{"a": [1,]}', "not JSON at line 1"),
        ("{'a': 1}", "not JSON at line 1 column 2"),
        ('{"a": 01}', "not JSON at line 1 column 8"),
        ('{"a": +1}', "not JSON at line 1 column 7"),
        ('{"a": .5}', "not JSON at line 1 column 7"),
        ('{"a": 1\u0662}', "not JSON at line 1 column 8"),
        ('{"a": "\t"}', "invalid control character"),
        ('{"a": "C:\\Program"}', "write a backslash as"),
        ('{"a": "\\u12"}', "not JSON at line 1"),
        ('{"a": 1 // comment\n}', "not JSON at line 1"),
        ('{"a": NaN}', "a: is no finite 64-bit number"),
        ('{"a": [1, Infinity]}', "a[1]: is no finite 64-bit number"),
        ('{"a": {"b": -Infinity}}', "a.b: is no finite 64-bit number"),
        ('{"a": 1e400}', "a: is no finite 64-bit number"),
        ('{"a": -1e400}', "a: is no finite 64-bit number"),
        ('{"a": ' + "9" * (MAX_INTEGER_DIGITS + 1) + "}", "a: is no finite 64-bit number"),
        ('{"a": -' + "9" * 5000 + "}", "a: is no finite 64-bit number"),
        ('{"a": [1, ' + "12" * 200 + "]}", "a[1]: is no finite 64-bit number"),
        ('{"a": 1, "a": 1}', "a: occurs twice"),
        ('{"x": {"a": 1, "\\u0061": 2}}', "x.a: occurs twice"),
        ('{"x": [{"a.b": 1, "a.b": 2}]}', 'x[0]."a.b": occurs twice'),
        ('{"a" : 1, "a": ":"}', "a: occurs twice"),
        ('{"a:": 1, "b": ":x", "a:": ":"}', "a:: occurs twice"),
        ('{"a":"\\"","a":1}', "a: occurs twice"),
        ('{"a":1,"b":[{"":":","" :"\\":"}]}', 'b[0]."": occurs twice'),
        ('{"a": ' + "1" * 300 + "e99}", "a: is no finite 64-bit number"),
        ('{"a": ' + "1" * 208 + "e+102}", "a: is no finite 64-bit number"),
        ('{"a": 1E+0309}', "a: is no finite 64-bit number"),
        ('{"a": "\\ud800"}', "a: holds half of a surrogate pair"),
        ('{"a": ["\\udfff\\ud83e"]}', "a[0]: holds half of a surrogate pair"),
        ('{"\\ud83e": 1}', '"\\ud83e": holds half of a surrogate pair'),
        ('{"security": {}, "Security": {}}', "Security: is the same name as 'security'"),
        ('{"a": [{"x_security": 1, "X_\u017fecurity": 2}]}', "a[0].X_\u017fecurity: is the same"),
        (nested(MAX_DEPTH + 1), "nested deeper than 100"),
        (nested(MAX_DEPTH + 1, lists=True), "nested deeper than 100"),
        ("[" * 100_000, "nested deeper than 100"),
        ('{"a":' * 100_000, "nested deeper than 100"),
        ('{"a": "\\\\", "b":' + "[" * 100_000, "nested deeper than 100"),
        ('{"a": "\\\\\\"", "b":' + "[" * 100_000, "nested deeper than 100"),
        ('{"a": "' + "x" * MAX_DOCUMENT_BYTES + '"}', f"larger than {MAX_DOCUMENT_BYTES} bytes"),
        ('{"a": "' + "\u00e9" * (MAX_DOCUMENT_BYTES // 2) + '"}', "larger than"),
    ],
)
def test_refuse(data: bytes | str, words: str) -> None:
    """What another reader could understand differently is refused, with place and remedy."""
    message = str(refused(data))
    assert message.startswith("the file: ")
    assert words in message
    assert "\n" not in message


def test_every_problem_at_once() -> None:
    """One error lists everything that is wrong, in the order of the document."""
    text = '{"a": NaN, "b": {"c": 1, "c": 2, "c": 3}, "d": ["\\ud800"], "a": 1e999}'
    error = refused(text)
    paths = [problem.path for problem in error.problems]
    assert paths == ["a", "b.c", "d[0]", "a", "a"]
    assert "5 problems" in str(error)


def test_message_names_the_first_problems() -> None:
    """A long list is in the error's attribute; its message stays short."""
    error = refused(json.dumps({f"k{number}": math.nan for number in range(50)}))
    assert len(error.problems) == 50
    assert "and 45 more" in str(error)
    assert len(str(error)) < 2000


def test_report_is_bounded() -> None:
    """A hostile document does not become a report much larger than itself."""
    text = '{"' + "k" * 100_000 + '": [' + ",".join(["NaN"] * 10_000) + "]}"
    error = refused(text)
    assert "10000 problems" in str(error)
    assert sum(len(problem.path) for problem in error.problems) < 2 * MAX_REPORT_CHARACTERS


@pytest.mark.parametrize(
    "data",
    [
        f'{{"password": "{CANARY}", "a": 1,}}',
        f'{{"password": "{CANARY}", "password": "{CANARY}"}}',
        f'{{"password": "{CANARY}\\ud800"}}',
        f'{{"password": "{CANARY}\t"}}',
        f'{{"password": "{CANARY}"}} {CANARY}',
        f'"{CANARY}"',
        f'{{"password": "{CANARY}"'.encode() + b"\xff",
        f'{{"password": {CANARY}}}',
    ],
)
def test_no_value_is_shown(data: bytes | str) -> None:
    """An error holds nothing of the document but names and places, not even as its cause."""
    error = refused(data)
    assert CANARY not in f"{error} {error!r} {error.problems!r}"
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("lists", [False, True])
def test_depth_limit(lists: bool) -> None:
    """The deepest document that is allowed is read, as text and as mapping."""
    text = nested(MAX_DEPTH, lists=lists)
    document = read_document(text)
    assert json.loads(text) == document
    assert copy_document(document) == document
    with pytest.raises(ConfigError, match="nested deeper than 100"):
        copy_document({"a": document})


def test_size_limit() -> None:
    """The largest document that is allowed is read."""
    text = '{"a":"' + "x" * (MAX_DOCUMENT_BYTES - 8) + '"}'
    assert len(text) == MAX_DOCUMENT_BYTES
    assert len(str(read_document(text)["a"])) == MAX_DOCUMENT_BYTES - 8


@patient
@given(json_values | st.recursive(st.text(alphabet='\\"[{a', max_size=4), st.lists))
def test_brackets_outside_strings(value: object) -> None:
    """What is counted is what a parser would descend into, whatever strings hold."""

    def brackets(part: object) -> str:
        if isinstance(part, dict):
            return "{" + "".join(map(brackets, part.values())) + "}"
        if isinstance(part, list):
            return "[" + "".join(map(brackets, part)) + "]"
        return ""

    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert brackets(value) == _brackets_outside_strings(text.encode()).decode()


@patient
@given(st.text(alphabet="[]{}", max_size=12), st.integers(MAX_DEPTH - 12, MAX_DEPTH + 3))
def test_nesting_is_exact(noise: str, around: int) -> None:
    """The limit is that of the deepest place, whether brackets fit each other or not."""
    wrapped = "[{" * (around // 2) + "[" * (around % 2) + noise + "]" * (around % 2)
    wrapped += "}]" * (around // 2)
    depth = deepest = 0
    for bracket in wrapped:
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    assert nests_too_deep(wrapped.encode()) == (deepest > MAX_DEPTH)


@patient
@given(st.dictionaries(st.text(max_size=4), json_values, max_size=4))
def test_round_trip(document: dict[str, object]) -> None:
    """A written document is read back unchanged, or refused for names that fold together."""
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False)):
        assert document == read_document(text)
        assert document == read_document(text.encode())


@patient
@given(st.data())
def test_every_spelling(data: st.DataObject) -> None:
    """Escapes and white space make no difference."""
    document = data.draw(bases())
    text = data.draw(spelled(document))
    assert document == read_document(text)


@patient
@given(
    st.text(alphabet='{}[]":,\\u0d8\udc00\ue000tnf1e-. \n', max_size=40).map(
        lambda text: text.encode("utf-8", "surrogatepass"),
    )
    | st.binary(max_size=40),
)
def test_any_bytes(data: bytes) -> None:
    """Any bytes give a document that `json` reads too, or our error."""
    try:
        document = read_document(data)
    except ConfigError:
        return
    assert document == json.loads(data.decode())


class Name(enum.StrEnum):
    """A name that is more than a text."""

    A = "a"


class Rank(enum.IntEnum):
    """A number that is more than a number."""

    ONE = 1


class Pairs(UserDict[str, object]):
    """A mapping that gives one name twice."""

    def items(self) -> Any:
        """Give the name twice."""
        return [("a", 1), ("a", 2)]


class Endless(UserDict[str, object]):
    """A mapping with numbers for names, and no end of them."""

    def items(self) -> Any:
        """Give members for ever."""
        return ((number, None) for number in itertools.count())


def itself() -> dict[str, object]:
    """Make a mapping that holds itself."""
    made: dict[str, object] = {"a": 1}
    made["again"] = made
    return made


def laughs(value: object) -> dict[str, object]:
    """Make a small mapping that a copy would turn into 10 to the 40th items."""
    for _ in range(40):
        value = [value] * 10
    return {"a": value, "b": {"c": value}}


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (None, "is null: give a mapping"),
        ([], "is a list: give a mapping"),
        ({1: "x"}, "has a name of type int"),
        ({"a": {None: "x"}}, "a: has a name of type NoneType"),
        ({"a": {Name.A: "x"}}, "a: has a name of type Name"),
        ({"a": b"x"}, "a: is of type bytes"),
        ({"a": {1, 2}}, "a: is of type set"),
        ({"a": object()}, "a: is of type object"),
        ({"a": Name.A}, "a: is of type Name"),
        ({"a": Rank.ONE}, "a: is of type Rank"),
        ({"a": 1j}, "a: is of type complex"),
        ({"a": math.nan}, "a: is no finite"),
        ({"a": [-math.inf]}, "a[0]: is no finite"),
        ({"a": 10**MAX_INTEGER_DIGITS}, "a: is no finite"),
        ({"a": -(10**MAX_INTEGER_DIGITS)}, "a: is no finite"),
        ({"a": "\ud800"}, "a: holds half of a surrogate pair"),
        ({"\ud800": 1}, "holds half of a surrogate pair"),
        (Pairs(), "a: occurs twice"),
        (itself(), "nested deeper than 100"),
        (laughs("ha"), "larger than"),
        (laughs(0), "larger than"),
        (laughs({}), "larger than"),
        ({str(number): number for number in range(900_000)}, "larger than"),
        ({"a": "x" * (MAX_DOCUMENT_BYTES + 1)}, "larger than"),
        (Endless(), "has a name of type int"),
        ({"a": [{"b": Endless()}]}, "a[0].b: has a name of type int"),
    ],
)
def test_mapping_that_is_no_document(mapping: Any, words: str) -> None:
    """A mapping passes the same checks as a text."""
    with pytest.raises(ConfigError) as caught:
        copy_document(mapping)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "mapping",
    [
        {"a": {"b": [1, {"c": None}]}},
        OrderedDict(a=1.5, b=True),
        MappingProxyType({"a": MappingProxyType({"b": (1, 2)})}),
        UserDict({"a": "x"}),
    ],
)
def test_copy(mapping: Any) -> None:
    """Any mapping of JSON values becomes dicts and lists of its own."""
    copy = copy_document(mapping)
    assert json.loads(json.dumps(copy)) == copy
    assert set(mapping) == set(copy)


@patient
@given(bases())
def test_copy_shares_nothing(document: dict[str, object]) -> None:
    """A copy is equal, and no list or object of it is one of the original."""

    def containers(value: object) -> list[int]:
        inner: list[object] = []
        if isinstance(value, dict):
            inner = list(value.values())
        elif isinstance(value, list):
            inner = value
        else:
            return []
        return [id(value), *(found for part in inner for found in containers(part))]

    copy = copy_document(document)
    assert document == copy
    assert not set(containers(document)) & set(containers(copy))


def test_frozen_lists_compare_as_lists() -> None:
    """A frozen list equals lists and tuples with the same items, and nothing else."""
    frozen: Any = freeze([1, [2]])
    assert frozen == [1, [2]]
    assert frozen == (1, (2,))
    assert frozen != [1, [3]]
    assert frozen != "12"
    assert hash(frozen) == hash((1, (2,)))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "a number"),
        (1.5, "a number"),
        ("x", "a text"),
        ([], "a list"),
        ((), "a list"),
        ({}, "an object"),
        (MappingProxyType({}), "an object"),
        (b"", "of type bytes"),
    ],
)
def test_kinds(value: object, kind: str) -> None:
    """A value is named by its kind."""
    assert kind == kind_of(value)
