"""Names and paths of security blocks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.config.blocks import (
    SecurityNames,
    find_blocks,
    fold_name,
    holds_block,
    is_security_name,
    join_path,
    render_path,
)
from tests.config.documents import SECURITY, bases, blocks_of, patient, walk

EVERY_CODE_POINT = [chr(point) for point in range(0x110000)]


@pytest.mark.parametrize(
    "name",
    [
        "security",
        "SECURITY",
        "Security",
        "\u017fecurity",
        "kv_security",
        "KV_SECURITY",
        "kv_\u017fecurity",
        "\u212av_security",
        "_security",
        "a.b_security",
        " _security",
        "security_security",
    ],
)
def test_security_names(name: str) -> None:
    """A name is a security name in every spelling that Go's decoder folds to it."""
    assert is_security_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "secure",
        "securit",
        "security_",
        "security ",
        " security",
        "security_mode",
        "kvsecurity",
        "kv-security",
        "insecurity",
        "secur\u0131ty",
        "secur\u0130ty",
        "se\u00e7urity",
        "\uff53ecurity",
        "securit\u1e99",
        "\u00dfecurity",
    ],
)
def test_other_names(name: str) -> None:
    """A name that Go's decoder tells apart from every security name is none."""
    assert not is_security_name(name)


@pytest.mark.parametrize("position", range(len("_security")))
def test_every_code_point_in_every_position(position: int) -> None:
    """Only the two cases of a letter, and U+017F for s, make a security name."""
    whole = "kv_security"
    start = len("kv") + position
    letter = whole[start]
    expected = {letter, letter.upper()} | ({"\u017f"} if letter == "s" else set())
    candidates = {c for c in EVERY_CODE_POINT if fold_name(c) == letter} | expected
    # A character that folds to several letters could complete a name, too.
    candidates |= {c for c in EVERY_CODE_POINT if len(fold_name(c)) > 1}
    found = {c for c in candidates if is_security_name(whole[:start] + c + whole[start + 1 :])}
    assert expected == found


@patient
@given(st.text(alphabet="sec\u017furityYKk\u212a_\n", max_size=12))
def test_security_names_by_another_rule(name: str) -> None:
    """The rule agrees with a case-insensitive regular expression."""
    assert bool(SECURITY.fullmatch(name)) == is_security_name(name)


@patient
@given(bases())
def test_find_blocks(document: dict[str, object]) -> None:
    """Every member with a security name is found once, wherever it sits."""
    found = list(find_blocks(document))
    assert blocks_of(document) == dict(found)
    assert len(found) == len(dict(found))


@patient
@given(bases())
def test_holds_block(document: dict[str, object]) -> None:
    """A part holds a block if and only if one is found below it."""
    names = SecurityNames()
    for _, part in [((), document), *walk(document)]:
        assert bool(blocks_of(part)) == holds_block(part, names.__getitem__)
    assert all(known == is_security_name(name) for name, known in names.items())


@pytest.mark.parametrize(
    ("segments", "path"),
    [
        ((), ""),
        (("security",), "security"),
        (("agents", "k8s-agent", "security"), "agents.k8s-agent.security"),
        (("checks", 0, "security"), "checks[0].security"),
        (("checks", 0, 12), "checks[0][12]"),
        (("a.b", "security"), '"a.b".security'),
        (("a", "b[0]"), 'a."b[0]"'),
        (("",), '""'),
        (('say "x"',), '"say \\"x\\""'),
        (("back\\slash",), '"back\\\\slash"'),
        (("line\nfeed",), '"line\\nfeed"'),
        (("\u202egnp",), '"\\u202egnp"'),
        (("\u017fecurity",), "\u017fecurity"),
    ],
)
def test_render_path(segments: tuple[str | int, ...], path: str) -> None:
    """A path is dotted, with list indices in brackets and doubtful keys quoted."""
    assert path == render_path(segments)


@patient
@given(
    st.lists(st.text(max_size=4) | st.integers(0, 9), max_size=4),
    st.lists(st.text(max_size=4) | st.integers(0, 9), max_size=4),
)
def test_paths_are_unambiguous(one: list[str | int], other: list[str | int]) -> None:
    """Two different paths are never written alike."""
    assert (one == other) == (render_path(one) == render_path(other))


@patient
@given(st.text(max_size=6))
def test_paths_are_one_line(key: str) -> None:
    """A path holds no control character, and a quoted key reads back as JSON."""
    path = render_path([key])
    assert path.isprintable()
    assert key == (json.loads(path) if path.startswith('"') else path)


@pytest.mark.parametrize(
    ("prefix", "path", "joined"),
    [
        ("", "", ""),
        ("security", "", "security"),
        ("", "mode", "mode"),
        ("security", "tls.cert_file", "security.tls.cert_file"),
        ("security", "[0]", "security[0]"),
    ],
)
def test_join_path(prefix: str, path: str, joined: str) -> None:
    """Two rendered paths join as their segments would."""
    assert joined == join_path(prefix, path)
