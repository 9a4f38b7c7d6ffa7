"""Documents that cannot be changed: views that are equal to what they show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from serviceradar_security.config.document import copy_document, freeze
from tests.config.documents import bases, patient


@patient
@given(bases())
def test_frozen_document_is_equal(document: dict[str, object]) -> None:
    """A frozen document equals the plain one, both ways, and thaws to it."""
    frozen: Any = freeze(document)
    assert frozen == document
    assert document == frozen
    assert document == copy_document(frozen)


@patient
@given(bases())
def test_frozen_documents_of_one_kind_are_equal(document: dict[str, object]) -> None:
    """Two frozen documents are equal if and only if the plain ones are."""
    assert freeze(document) == freeze(copy_document(document))
    assert freeze(document) != freeze({**document, "another": None})
    assert freeze({"a": document}) == {"a": freeze(document)}
    assert freeze(document) != list(document)


def test_frozen_document_is_a_mapping() -> None:
    """A frozen object is looked at like any mapping, and gives the same part each time."""
    frozen: Any = freeze({"a": {"b": [1, {"c": 2}]}, "n": None})
    assert frozen["a"] is frozen["a"]
    assert frozen.get("x") is None
    assert frozen["n"] is None
    assert (len(frozen), list(frozen), "a" in frozen, "x" in frozen) == (2, ["a", "n"], True, False)
    assert list(frozen.items()) == [("a", {"b": [1, {"c": 2}]}), ("n", None)]
    assert repr(frozen) == "{'a': {'b': [1, {'c': 2}]}, 'n': None}"
    assert frozen["a"]["b"][1]["c"] == 2
    with pytest.raises(KeyError):
        frozen["x"]
    with pytest.raises(TypeError):
        hash(frozen)
    with pytest.raises(AttributeError):
        frozen.plain = {}
    with pytest.raises(AttributeError):
        frozen._plain = {}
    with pytest.raises(AttributeError):
        del frozen._plain
    with pytest.raises(TypeError):
        del frozen["a"]


def test_frozen_document_does_not_change() -> None:
    """Neither objects nor lists of a frozen document can be changed at any depth."""
    frozen: Any = freeze({"a": {"b": [1, [2], {"c": 3}]}})
    with pytest.raises(AttributeError):
        frozen.update(x=1)
    with pytest.raises(AttributeError):
        frozen["a"].pop("b")
    with pytest.raises(AttributeError):
        frozen["a"]["b"][1].append(4)
    with pytest.raises(TypeError):
        frozen["a"]["b"][2]["c"] = 4
    with pytest.raises(TypeError):
        frozen["a"]["b"][0] = 4
