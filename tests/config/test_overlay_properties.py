"""The overlay gate for any base and any overlay."""

from __future__ import annotations

import copy
import json
from typing import Any, cast

import pytest
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from serviceradar_security.config.blocks import render_path
from serviceradar_security.config.overlay import apply_overlay, merge_overlay
from serviceradar_security.config.protected import ProtectedPaths
from serviceradar_security.config.strip import strip_protected
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from tests.config.documents import (
    as_go_decodes,
    as_toml,
    bases,
    blocks_of,
    cases,
    names,
    offending,
    patient,
    reference_merge,
    settings_of,
    spelled,
    without_nulls,
)

Case = tuple[dict[str, object], dict[str, object]]
thorough = settings(patient, max_examples=400)

# Of the names that bases and overlays are drawn from.
PATTERNS = ("kv", "nats.a", "agents.*.kv", "a.nats.*")
PROTECTED = ProtectedPaths().with_paths(*PATTERNS, reason="matters")


def apply(
    base: dict[str, object], overlay: object, **options: Any
) -> dict[str, object] | OverlayRefusedError:
    """Apply an overlay and see that the base is as it was."""
    before = copy.deepcopy(base)
    try:
        return apply_overlay(base, overlay, **options)  # type: ignore[arg-type]  # anything may come
    except OverlayRefusedError as refusal:
        return refusal
    finally:
        assert before == base
        assert repr(before) == repr(base)  # the order of the members, too


@thorough
@given(cases())
def test_refused_or_merged(case: Case) -> None:
    """An overlay is refused with exactly its offenders, or gives the reference merge."""
    base, overlay = case
    offenders = offending(base, overlay)
    result = apply(base, overlay)
    if isinstance(result, OverlayRefusedError):
        event("refused")
        assert {render_path(path) for path in offenders} == set(result.paths)
    else:
        event("merged" if result != base else "merged without a change")
        assert not offenders
        assert reference_merge(base, overlay) == result


@thorough
@given(cases())
def test_blocks_stay(case: Case) -> None:
    """Every security block of the result is that of the base, and there are no others."""
    base, overlay = case
    result = apply(base, overlay)
    if not isinstance(result, OverlayRefusedError):
        assert blocks_of(base) == blocks_of(result)


@thorough
@given(cases())
def test_protected_paths_stay(case: Case) -> None:
    """Protected paths are refused with exactly their offenders, or stay as the base has them."""
    base, overlay = case
    offenders = offending(base, overlay, PATTERNS)
    for given_overlay in (overlay, json.dumps(overlay)):
        result = apply(base, given_overlay, protected=PROTECTED)
        if isinstance(result, OverlayRefusedError):
            event("refused")
            assert {render_path(path) for path in offenders} == set(result.paths)
        else:
            event("merged" if result != base else "merged without a change")
            assert not offenders
            assert reference_merge(base, overlay) == result
            assert settings_of(base, PATTERNS) == settings_of(result, PATTERNS)
            seen, expected = as_go_decodes(result), as_go_decodes(base)
            assert settings_of(expected, PATTERNS) == settings_of(seen, PATTERNS)


@thorough
@given(cases())
def test_every_format(case: Case) -> None:
    """However an overlay is written, as JSON, TOML or YAML, it fares as the mapping does."""
    base, overlay = case
    block = yaml.safe_dump(json.loads(json.dumps(overlay)), allow_unicode=True)
    texts = [("yaml", json.dumps(overlay, ensure_ascii=False), overlay), ("yaml", block, overlay)]
    filled = cast("dict[str, object]", without_nulls(overlay))
    texts.append(("toml", as_toml(filled), filled))
    for format_, text, same in texts:
        expected = apply(base, same, protected=PROTECTED)
        result = apply(base, text, protected=PROTECTED, format=format_)
        if isinstance(expected, OverlayRefusedError):
            assert isinstance(result, OverlayRefusedError)
            assert set(expected.paths) == set(result.paths)  # TOML writes tables last
        else:
            assert expected == result


@thorough
@given(cases())
def test_merge_in_place(case: Case) -> None:
    """A merge in place does the same, gives the overlay back, and the two share nothing."""
    base, overlay = case
    expected = apply(base, overlay, protected=PROTECTED)
    document = copy.deepcopy(base)
    if isinstance(expected, OverlayRefusedError):
        with pytest.raises(OverlayRefusedError):
            merge_overlay(document, json.dumps(overlay), protected=PROTECTED)
        assert base == document
        return
    applied = merge_overlay(document, json.dumps(overlay), protected=PROTECTED)
    assert expected == document
    assert overlay == applied
    _spoil(document)
    assert overlay == applied


def _spoil(value: object) -> None:
    if isinstance(value, dict):
        for member in value.values():
            _spoil(member)
        value.clear()
    elif isinstance(value, list):
        for item in value:
            _spoil(item)
        value.clear()


@thorough
@given(cases(), st.booleans())
def test_stripped_overlay_is_accepted(case: Case, as_text: bool) -> None:
    """What is left of a stripped overlay is accepted; only offenders are taken out."""
    base, overlay = case
    before = copy.deepcopy(overlay)
    given_overlay = json.dumps(overlay) if as_text else overlay
    stripped = strip_protected(given_overlay, base=base, protected=PROTECTED)
    assert before == overlay
    result = apply(base, stripped.document, protected=PROTECTED)
    assert reference_merge(base, stripped.document) == result
    assert {render_path(path) for path in offending(base, overlay, PATTERNS)} == set(
        stripped.removed
    )
    again = strip_protected(stripped.document, base=base, protected=PROTECTED)
    assert not again.removed
    assert stripped.document == again.document
    if not stripped.removed:
        assert overlay == stripped.document


@thorough
@given(cases())
def test_stripped_without_a_base(case: Case) -> None:
    """Stripped without its base, an overlay has no security name and no protected path."""
    _, overlay = case
    stripped = strip_protected(overlay, protected=PROTECTED).document
    assert not blocks_of(stripped)
    assert not settings_of(stripped, PATTERNS)
    assert apply({}, stripped, protected=PROTECTED) == stripped


@thorough
@given(bases())
def test_whole_document(base: dict[str, object]) -> None:
    """A whole document from outside is an overlay: with the blocks in it, it is refused."""
    result = apply(base, base, protected=PROTECTED)
    guarded = blocks_of(base) or settings_of(base, PATTERNS)
    assert isinstance(result, OverlayRefusedError) == bool(guarded)


@thorough
@given(cases())
def test_blocks_stay_for_a_go_service(case: Case) -> None:
    """A Go service that decodes the result finds the blocks that it finds in the base."""
    base, overlay = case
    result = apply(base, overlay)
    if not isinstance(result, OverlayRefusedError):
        assert blocks_of(as_go_decodes(base)) == blocks_of(as_go_decodes(result))


@thorough
@given(st.data())
def test_text_and_mapping_agree(data: st.DataObject) -> None:
    """However an overlay is spelled as text, it fares as the mapping does."""
    base, overlay = data.draw(cases())
    text = data.draw(spelled(overlay))
    as_mapping, as_text = apply(base, overlay), apply(base, text)
    if isinstance(as_mapping, OverlayRefusedError):
        assert isinstance(as_text, OverlayRefusedError)
        assert as_mapping.paths == as_text.paths
        assert str(as_mapping) == str(as_text)
    else:
        assert as_mapping == as_text
        assert as_mapping == apply(base, text.encode())


@thorough
@given(st.data())
def test_repeated_names(data: st.DataObject) -> None:
    """A name that occurs twice, at any depth, refuses the overlay, and its path is listed."""
    base, overlay = data.draw(cases())
    key = data.draw(names)
    first, second = data.draw(spelled(overlay)), data.draw(spelled(None))
    depth = data.draw(st.integers(0, 3))
    name = json.dumps(key)
    text = f"{{{name}: {first}, {name}: {second}}}"
    for _ in range(depth):
        text = f'{{"down": [{text}]}}'
    result = apply(base, text)
    assert isinstance(result, OverlayRefusedError)
    down: tuple[str | int, ...] = ("down", 0)
    assert render_path((*down * depth, key)) in result.paths


@thorough
@given(cases(), st.binary(max_size=12), st.integers(0, 10_000))
def test_damaged_text(case: Case, damage: bytes, place: int) -> None:
    """A damaged text is refused or merged as what it says; nothing else ever happens."""
    base, overlay = case
    text = json.dumps(overlay).encode()
    place %= len(text) + 1
    damaged = text[:place] + damage + text[place + len(damage) :]
    result = apply(base, damaged)
    if not isinstance(result, OverlayRefusedError):
        assert reference_merge(base, json.loads(damaged.decode())) == result
        assert blocks_of(base) == blocks_of(result)


@thorough
@given(cases())
def test_applying_twice_changes_nothing_more(case: Case) -> None:
    """An accepted overlay is accepted on its own result, and changes nothing there."""
    base, overlay = case
    result = apply(base, overlay)
    if not isinstance(result, OverlayRefusedError):
        assert result == apply(result, overlay)


@patient
@given(
    st.recursive(
        st.none() | st.binary(max_size=2) | st.floats() | st.text(max_size=2) | st.integers(),
        lambda inner: (
            st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.lists(inner, max_size=3)
        ),
        max_leaves=6,
    ),
)
def test_any_value(overlay: object) -> None:
    """Any Python value as overlay gives a document or our error."""
    result = apply({"security": {"mode": "none"}, "a": [1]}, overlay)
    if isinstance(result, ConfigError):
        assert result.problems
    else:
        assert json.loads(json.dumps(result)) == result
        assert result["security"] == {"mode": "none"}
