"""Layers: merging without copying, paths as they are written, and exact comparison."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.config.blocks import render_path
from serviceradar_security.config.layers import (
    MISSING,
    Layer,
    check_local,
    look,
    parse_path,
    same,
    together,
)
from serviceradar_security.config.merge import merged
from serviceradar_security.config.problems import Problems
from tests.config.documents import bases, blocks_of, cases, patient, reference_merge, walk


@patient
@given(st.lists(bases(), max_size=4))
def test_together_is_the_reference_merge(documents: list[dict[str, object]]) -> None:
    """Layers merge as the platform merges, and stay as they were."""
    before = copy.deepcopy(documents)
    expected: object = {}
    for document in documents:
        expected = reference_merge(expected, document)
    result = together(Layer("file", "x", document) for document in documents)
    assert same(expected, result)
    assert same(before, documents)


@patient
@given(cases())
def test_merged_keeps_the_order_of_the_base(case: tuple[dict[str, object], Any]) -> None:
    """Members of the base come first, in their order; new ones follow."""
    base, change = case
    keys = list(base) + [key for key in change if key not in base]
    assert keys == list(merged(base, change))


@given(st.lists(st.text(max_size=5) | st.integers(0, 10**9 - 1), max_size=5))
def test_path_round_trip(steps: list[str | int]) -> None:
    """A path that was written is read as what it was."""
    if any(isinstance(step, str) and not step.isascii() for step in steps):
        steps = [step if isinstance(step, int) else ascii(step) for step in steps]
    assert tuple(steps) == parse_path(render_path(steps))


@given(st.text(max_size=6))
def test_path_round_trip_of_any_key(key: str) -> None:
    """Every key that a document can have is one step of a path."""
    assert parse_path(render_path((key,))) == (key,)
    assert parse_path(render_path(("a", 0, key))) == ("a", 0, key)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", ()),
        ("security.mode", ("security", "mode")),
        ("checks[0].security", ("checks", 0, "security")),
        ('agents."south.east".security', ("agents", "south.east", "security")),
        ('"a"."b"', ("a", "b")),
        ('""', ("",)),
        (r'"\u0041"', ("A",)),
        ("a[1][2]", ("a", 1, 2)),
        ("[1]", (1,)),
    ],
)
def test_path(text: str, place: tuple[str | int, ...]) -> None:
    """These are paths."""
    assert parse_path(text) == place


@pytest.mark.parametrize(
    "text",
    [".", "a.", ".a", "a..b", "a[", "a[]", "a[01]", "a[-1]", "a[1", "a]", "a b", 'a"b"', '"a', '"\\x"', "a\n", "a[\u0663]", f"a[{'9' * 5000}]", '"a\nb"', "a[0]b"],
)  # fmt: skip
def test_no_path(text: str) -> None:
    """These are none."""
    assert parse_path(text) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        ([1], [True]),
        ({"a": 1}, {"a": 1.0}),
        ({"a": None}, {}),
        ({}, {"a": None}),
        ({"a": None}, {"b": None}),
        ([1], [1, 1]),
        ({}, []),
        (None, False),
        ("1", 1),
    ],
)
def test_not_the_same(one: object, other: object) -> None:
    """What is different JSON is not the same, also where Python says so."""
    assert not same(one, other)
    assert not same(other, one)


@patient
@given(bases(), bases())
def test_same_as_text(one: dict[str, object], other: dict[str, object]) -> None:
    """Two documents are the same if they are written the same, but for the order of members."""

    def text(document: object) -> str:
        return json.dumps(document, sort_keys=True)

    assert same(one, copy.deepcopy(one))
    assert same(one, other) == (text(one) == text(other))


@patient
@given(bases())
def test_look(document: dict[str, object]) -> None:
    """Whatever a document holds is found by its place, and nothing else is."""
    for place, value in walk(document):
        assert look(document, place) is value
        assert look(document, (*place, "no such key")) is MISSING
        assert look(document, (*place, 99)) is MISSING


@patient
@given(cases())
def test_local_layer_takes_no_block_away(case: tuple[dict[str, object], Any]) -> None:
    """A local layer without a problem leaves each block an object, unless it replaces a list."""
    below, change = case
    problems = Problems()
    check_local(change, below, blocks_of, problems)
    result = reference_merge(below, change)
    taken = [
        place
        for place, value in blocks_of(below).items()
        if isinstance(value, dict)
        and all(isinstance(step, str) for step in place)
        and not isinstance(look(result, place), dict)
    ]
    nulls = [place for place, value in blocks_of(change).items() if value is None]
    if not problems:
        assert not taken
        assert not nulls
    if taken or nulls:
        assert problems
