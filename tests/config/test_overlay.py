"""The overlay gate, hole by hole."""

from __future__ import annotations

import copy
import json
import logging
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest

from serviceradar_security.config.configuration import Config
from serviceradar_security.config.document import MAX_DEPTH, MAX_DOCUMENT_BYTES
from serviceradar_security.config.overlay import apply_overlay, find_offenders, merge_into
from serviceradar_security.config.strip import strip_protected
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from tests.config.documents import with_frames_left

CANARY = "canary-do-not-show"
BLOCK = {"mode": "spiffe", "trust_domain": "meadow.example"}
BASE: dict[str, Any] = {
    "poll_interval": "20s",
    "limits": {"cpu": 2, "mem": {"soft": 1}},
    "tags": ["a", "b"],
    "security": BLOCK,
    "kv_security": BLOCK,
    "nats": {"url": "tls://nats:4222", "security": BLOCK},
    "agents": {
        "north": {"address": "north:1", "security": BLOCK, "labels": {"zone": "n"}},
        "south.east": {"link": {"deep": {"gateway_security": None}}},
    },
    "checks": [{"name": "a"}, {"name": "b", "security": BLOCK}],
    "grid": [[{"x": [{"x_security": 1}]}]],
    "tasks": {"list": [{"security": BLOCK}], "count": 3},
}


def refused(overlay: Any, base: dict[str, Any] = BASE) -> OverlayRefusedError:
    """Apply an overlay that must be refused, and see that the base is as it was."""
    before = copy.deepcopy(base)
    with pytest.raises(OverlayRefusedError) as caught:
        apply_overlay(base, overlay)
    assert before == base
    return caught.value


def both(overlay: dict[str, object]) -> tuple[OverlayRefusedError, OverlayRefusedError]:
    """Refuse an overlay as mapping and as text."""
    return refused(overlay), refused(json.dumps(overlay))


@pytest.mark.parametrize(
    ("overlay", "merged"),
    [
        ({}, {}),
        ({"poll_interval": "5s"}, {"poll_interval": "5s"}),
        ({"poll_interval": None}, {"poll_interval": None}),
        ({"Poll_Interval": "5s"}, {"Poll_Interval": "5s"}),
        ({"limits": {"cpu": 4}}, {"limits": {"cpu": 4, "mem": {"soft": 1}}}),
        ({"limits": {"mem": {"hard": 2}}}, {"limits": {"cpu": 2, "mem": {"soft": 1, "hard": 2}}}),
        ({"limits": None}, {"limits": None}),
        ({"limits": []}, {"limits": []}),
        ({"limits": {}}, {}),
        ({"tags": []}, {"tags": []}),
        ({"tags": ["c"]}, {"tags": ["c"]}),
        ({"tags": {"a": 1}}, {"tags": {"a": 1}}),
        ({"poll_interval": {"a": {"b": 1}}}, {"poll_interval": {"a": {"b": 1}}}),
        ({"new": {"a": [1, {"b": None}]}}, {"new": {"a": [1, {"b": None}]}}),
        ({"big": 2**70, "small": 0.1}, {"big": 2**70, "small": 0.1}),
        (
            {"nats": {"url": "tls://other:4222"}},
            {"nats": {"url": "tls://other:4222", "security": BLOCK}},
        ),
        ({"nats": {"x": {}}}, {"nats": {**BASE["nats"], "x": {}}}),
        ({"agents": {}}, {}),
        ({"agents": {"west": {}}}, {"agents": {**BASE["agents"], "west": {}}}),
        (
            {"agents": {"north": {"labels": None}}},
            {"agents": {**BASE["agents"], "north": {**BASE["agents"]["north"], "labels": None}}},
        ),
        ({"tasks": {"count": 4}}, {"tasks": {**BASE["tasks"], "count": 4}}),
        ({"security_mode": "none"}, {"security_mode": "none"}),
        ({"secur\u0131ty": 1}, {"secur\u0131ty": 1}),
    ],
)
def test_accepted(overlay: dict[str, object], merged: dict[str, object]) -> None:
    """An overlay that keeps away from security merges as on the Go side, text or mapping."""
    expected = BASE | merged
    assert expected == apply_overlay(BASE, overlay)
    assert expected == apply_overlay(BASE, json.dumps(overlay))
    assert expected == apply_overlay(BASE, json.dumps(overlay, ensure_ascii=False).encode())


@pytest.mark.parametrize("value", [None, {}, BLOCK, {"mode": "none"}, [], "", 0, False])
@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("security", "security"),
        ("SECURITY", "SECURITY"),
        ("sEcUrItY", "sEcUrItY"),
        ("\u017fecurity", "\u017fecurity"),
        ("kv_security", "kv_security"),
        ("KV_Security", "KV_Security"),
        ("kv_\u017fecurity", "kv_\u017fecurity"),
        ("\u212av_security", "\u212av_security"),
        ("new_security", "new_security"),
        ("_security", "_security"),
        ("a.b_security", '"a.b_security"'),
        ("a[0]_security", '"a[0]_security"'),
    ],
)
def test_security_name(key: str, path: str, value: object) -> None:
    """A security name is refused at any depth, whatever its value, equal and null included."""
    places: list[tuple[dict[str, object], str]] = [
        ({key: value}, path),
        ({"limits": {key: value}}, f"limits.{path}"),
        ({"nats": {key: value}}, f"nats.{path}"),
        ({"agents": {"north": {key: value}}}, f"agents.north.{path}"),
        ({"fresh": [1, [{"a": {key: value}}]]}, f"fresh[1][0].a.{path}"),
    ]
    for wrapped, where in places:
        for error in both(wrapped):
            assert error.paths == (where,)
            assert [problem.path for problem in error.problems] == [where]


@pytest.mark.parametrize(
    "text",
    [
        r'{"\u0073ecurity": 1}',
        r'{"\u017fecurity": 1}',
        r'{"kv\u005fsecurity": 1}',
        r'{"KV_\u0053\u0045CURITY": 1}',
    ],
)
def test_escaped_security_name(text: str) -> None:
    """An escape does not hide a security name."""
    assert len(refused(text).paths) == 1
    assert len(refused(text.encode()).paths) == 1


@pytest.mark.parametrize("value", [None, 0, 1.5, True, "", "x", [], [{}], [{"url": "x"}]])
@pytest.mark.parametrize(
    ("parents", "path"),
    [
        (("nats",), "nats"),
        (("agents",), "agents"),
        (("agents", "north"), "agents.north"),
        (("agents", "south.east"), 'agents."south.east"'),
        (("agents", "south.east", "link"), 'agents."south.east".link'),
        (("agents", "south.east", "link", "deep"), 'agents."south.east".link.deep'),
        (("checks",), "checks"),
        (("grid",), "grid"),
        (("tasks",), "tasks"),
        (("tasks", "list"), "tasks.list"),
    ],
)
def test_parent_replaced(parents: tuple[str, ...], path: str, value: object) -> None:
    """A parent of a block is never replaced by a scalar, null or a list."""
    overlay: object = value
    for parent in reversed(parents):
        overlay = {parent: overlay}
    assert isinstance(overlay, dict)
    for error in both(overlay):
        assert error.paths == (path,)
        assert "would replace" in str(error)


@pytest.mark.parametrize("path", ["checks", "grid"])
@pytest.mark.parametrize("same", [False, True])
def test_list_with_blocks(path: str, same: bool) -> None:
    """A list that holds a block is never replaced: not by an object, not by its own equal."""
    value = BASE[path] if same else {}
    error = refused({path: value})
    assert path in error.paths
    assert path == error.paths[0]


@pytest.mark.parametrize(
    ("overlay", "path", "name"),
    [
        ({"NATS": None}, "NATS", "nats"),
        ({"NATS": {}}, "NATS", "nats"),
        ({"nat\u017f": None}, "nat\u017f", "nats"),
        ({"nat\u017f": {"url": "tls://other"}}, "nat\u017f", "nats"),
        ({"Agents": {}}, "Agents", "agents"),
        ({"agent\u017f": {}}, "agent\u017f", "agents"),
        ({"agents": {"North": {}}}, "agents.North", "north"),
        ({"Checks": []}, "Checks", "checks"),
        ({"chec\u212as": []}, "chec\u212as", "checks"),
        ({"ta\u017fks": {"list": []}}, "ta\u017fks", "tasks"),
        ({"tasks": {"li\u017ft": {}}}, "tasks.li\u017ft", "list"),
    ],
)
def test_twin_of_a_parent(overlay: dict[str, object], path: str, name: str) -> None:
    """A key that Go takes for a parent's name is refused, even over an object."""
    for error in both(overlay):
        assert error.paths == (path,)
        assert f"the same name as '{name}'" in str(error)


def test_twin_beside_the_parent() -> None:
    """Where the base has both spellings, neither may touch the other's blocks."""
    base = {"nats": {"security": BLOCK}, "NATS": {"security": BLOCK}, "Nats": {"url": 1}}
    assert refused({"nats": {"url": 2}}, base).paths == ("nats",)
    assert refused({"Nats": {"url": 2}}, base).paths == ("Nats",)


@pytest.mark.parametrize("key", ["STRASSE", "stra\u1e9ee"])
def test_twin_by_full_case_folding(key: str) -> None:
    """Parents with other letters are guarded by full case folding, which is wider than Go's."""
    base = {"stra\u00dfe": {"security": BLOCK}}
    assert refused({key: {}}, base).paths == (key,)


def test_every_offender_once_and_in_order() -> None:
    """One refusal names all offenders, in the order of the overlay."""
    overlay = {
        "a": [{"security": 1}, {"b": {"x_security": {"y_security": 2}}}],
        "nats": [{"security": None}],
        "poll_interval": "1s",
        "Security": {},
        "agents": {"north": 1, "NORTH": {"security": 2}},
    }
    expected = (
        "a[0].security",
        "a[1].b.x_security",
        "a[1].b.x_security.y_security",
        "nats",
        "nats[0].security",
        "Security",
        "agents.north",
        "agents.NORTH",
        "agents.NORTH.security",
    )
    for error in both(overlay):
        assert error.paths == expected
        assert tuple(problem.path for problem in error.problems) == expected
        assert "9 problems" in str(error)
        assert "and 4 more" in str(error)


def test_faults_of_form_and_offenders_together() -> None:
    """A name that occurs twice hides nothing: both of its values are looked at."""
    text = '{"a": {"security": 1}, "b": NaN, "a": {"x": {"kv_security": 2}}, "nats": null}'
    assert refused(text).paths == ("b", "a", "a.security", "a.x.kv_security", "nats")


def test_security_name_twice() -> None:
    """A security name that occurs twice is one path with two reasons."""
    error = refused('{"security": 1, "security": 2}')
    assert error.paths == ("security",)
    assert len(error.problems) == 3


@pytest.mark.parametrize(
    "overlay",
    [
        b"",
        "",
        "null",
        "[]",
        '"x"',
        "7",
        '{"a": 1} {"security": 1}',
        '{"a": 1}x',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-32"),
        b'{"a": "\xff"}',
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e400}',
        '{"a": ' + "1" * 5000 + "}",
        '{"a": "\\ud800"}',
        '{"security\\ud800": 1}',
        '{"a":' * MAX_DEPTH + "{}" + "}" * MAX_DEPTH,
        '{"a":' * 200_000,
        '{"a": "' + "x" * MAX_DOCUMENT_BYTES + '"}',
        {1: 2},
        {"a": {2: 3}},
        {"a": b"x"},
        {"a": {1, 2}},
        {"a": float("nan")},
        None,
        7,
        ["a"],
        bytearray(b"{}"),
    ],
)
def test_no_document(overlay: Any) -> None:
    """What is no strict JSON object is refused as an overlay, too."""
    assert refused(overlay).problems


def test_cyclic_mapping() -> None:
    """A mapping that holds itself is refused."""
    overlay: dict[str, Any] = {"a": {}}
    overlay["a"]["b"] = overlay
    assert "nested deeper" in str(refused(overlay).problems)


@pytest.mark.parametrize(
    "overlay",
    [
        '{"a":' * 97 + '{"security":[' + "{}," * 200_000 + "{}]}" + "}" * 97,
        '{"' + "k" * 1_000_000 + '":[' + '{"security":0},' * 100_000 + "{}]}",
        "{" + ",".join(f'"{number}_security":0' for number in range(100_000)) + "}",
    ],
)
def test_hostile_size(overlay: str) -> None:
    """A refusal of a large hostile overlay is no larger than a few of them."""
    error = refused(overlay)
    assert error.paths
    assert sum(map(len, error.paths)) < 2_000_000
    assert len(str(error)) < 3000


@pytest.mark.parametrize("base", [{"a": b"x"}, {1: 2}, {"a": float("inf")}])
def test_unusable_base(base: Any) -> None:
    """A base that is no document is the caller's fault, not the overlay's."""
    with pytest.raises(ConfigError, match="base document") as caught:
        apply_overlay(base, {})
    assert not isinstance(caught.value, OverlayRefusedError)


def test_result_shares_nothing() -> None:
    """Changing the result changes neither base nor overlay."""
    base = copy.deepcopy(BASE)
    shared: list[object] = [1, {"x": 2}]
    overlay = {"fresh": shared, "again": shared, "limits": {"more": {"y": 3}}}
    result: Any = apply_overlay(base, overlay)
    result["fresh"][1]["x"] = 0
    result["limits"]["more"]["y"] = 0
    result["limits"]["mem"]["soft"] = 0
    result["security"]["mode"] = "none"
    result["checks"].clear()
    assert base == BASE
    assert overlay == {"fresh": [1, {"x": 2}], "again": [1, {"x": 2}], "limits": {"more": {"y": 3}}}
    assert result["again"] == [1, {"x": 2}]


def test_read_only_base() -> None:
    """A read-only base and overlay serve as well."""
    base = MappingProxyType({"a": MappingProxyType({"b": (1, 2)})})
    assert apply_overlay(base, MappingProxyType({"a": {"c": (3,)}})) == {
        "a": {"b": [1, 2], "c": [3]},
    }


def test_one_log_event(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is one structured warning that names the paths and shows no value."""
    caplog.set_level(logging.DEBUG)
    refused(json.dumps({"security": {"mode": CANARY}, "nats": CANARY, "tags": CANARY}))
    (record,) = caplog.records
    assert record.name == "serviceradar_security.config"
    assert record.levelno == logging.WARNING
    assert vars(record)["event"] == "overlay_refused"
    assert vars(record)["paths"] == ("security", "nats")
    assert vars(record)["problem_count"] == 2
    assert "security" in record.getMessage()
    assert CANARY not in f"{record.getMessage()} {vars(record)}"


def test_no_log_when_accepted(caplog: pytest.LogCaptureFixture) -> None:
    """An accepted overlay is no event."""
    caplog.set_level(logging.DEBUG)
    apply_overlay(BASE, {"tags": []})
    assert not caplog.records


@pytest.mark.parametrize(
    "overlay",
    [
        {"security": CANARY},
        {"nats": CANARY},
        {"NATS": {"password": CANARY}},
        {"a": {"password": CANARY, "x_security": {"key": CANARY}}},
        f'{{"password": "{CANARY}", "password": "{CANARY}"}}',
        f'{{"password": "{CANARY}"}} trailing {CANARY}',
        f'{{"password": "{CANARY}",}}',
        f'{{"password": "{CANARY}\\ud800"}}',
        {"password": CANARY.encode()},
    ],
)
def test_no_value_is_shown(overlay: Any) -> None:
    """A refusal shows no value of the overlay, not even as its cause."""
    error = refused(overlay)
    assert CANARY not in f"{error} {error!r} {error.problems} {error.paths}"
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("overlay", ['{"\\u001b[2J_security": 1}', '{"a\\nb_security": 1}'])
def test_refusal_is_one_printable_line(overlay: str) -> None:
    """A hostile name does not write to the terminal or start a line of its own in the log."""
    assert str(refused(overlay)).isprintable()


def test_find_offenders_without_merging() -> None:
    """Offenders are found without a merge, with the steps of their paths."""
    overlay: dict[str, object] = {"a.b": [{"security": 1}], "nats": None}
    found = list(find_offenders(BASE, overlay))
    assert [offender.path for offender in found] == [("a.b", 0, "security"), ("nats",)]
    assert all(offender.text for offender in found)


def test_merge_into() -> None:
    """A merge in place knows no gate: it is for documents of the local operator."""
    document: dict[str, object] = {"security": {"mode": "none", "role": "core"}, "a": [1]}
    merge_into(document, {"security": {"mode": "spiffe"}, "a": None})
    assert document == {"security": {"mode": "spiffe", "role": "core"}, "a": None}


def test_log_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A record has the first of many paths, none of them long, and counts all of them."""
    overlay = {"x" * 5000: {f"{index}_security": 0 for index in range(200)}}
    error = refused(json.dumps(overlay))
    (record,) = caplog.records
    assert len(error.paths) > 20
    assert vars(record)["problem_count"] == 200
    assert len(vars(record)["paths"]) == 20
    assert len(str(vars(record))) < 10_000
    assert vars(record)["paths"][0].endswith(".0_security")


DEEP: Any = json.loads('{"a":' * 95 + "1" + "}" * 95)
ENTRIES: dict[str, Any] = {
    "apply_overlay": lambda: apply_overlay(DEEP, DEEP),
    "strip_protected": lambda: strip_protected(DEEP, base=DEEP),
    "Config": lambda: Config(DEEP),
    "with_overlay": partial(Config(DEEP).with_overlay, DEEP),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_deep_caller(entry: str) -> None:
    """A caller near the end of the stack gets the result or an error of ours, never a traceback."""
    expected = OverlayRefusedError if entry in {"apply_overlay", "with_overlay"} else ConfigError
    refusals = []
    for room in range(110, 600, 10):
        try:
            with_frames_left(room, ENTRIES[entry])
        except ConfigError as error:
            refusals.append(error)
    assert 0 < len(refusals) < 49
    for each in refusals:
        assert type(each) is expected
        assert "for a caller that is itself this deep" in str(each)
        assert each.__cause__ is None
        assert each.__suppress_context__
