"""Documents that cannot be changed: views that are equal to what they show."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given

from serviceradar_security.config.configuration import make_config
from serviceradar_security.config.document import copy_document, freeze
from serviceradar_security.config.layers import Layer
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
    assert repr(frozen) == "<object of 'a', 'n'>"
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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "<object of nothing>"),
        ({"auth": {"jwt_secret": "canary"}}, "<object of 'auth'>"),
        ({"list": ["canary"]}, "<object of 'list'>"),
        (["canary", {"a": "canary"}], "<list of 2>"),
        ({str(index): "canary" for index in range(22)}, None),
        ({"x" * 1000: "canary"}, None),
    ],
    ids=["empty", "object", "list-within", "list", "many", "long"],
)
def test_repr_shows_no_value(value: object, text: str | None) -> None:
    """A document may hold secrets: its repr has names, few and short, and sizes."""
    shown = repr(freeze(value))
    assert "canary" not in shown
    assert len(shown) < 300
    assert text in {None, shown}
    if text is None and isinstance(value, dict) and len(value) > 20:
        assert shown.endswith("'19' and 2 more>")


@pytest.mark.parametrize("value", [{"a": {"b": [1]}}, [1, [2]]], ids=["object", "list"])
def test_copies_and_pickles(value: object) -> None:
    """A copy of what cannot change is itself; nothing is pickled, since it may hold secrets."""
    frozen = freeze(value)
    assert copy.copy(frozen) is frozen
    assert copy.deepcopy(frozen) is frozen
    assert copy.deepcopy([frozen]) == [value]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(frozen, protocol)


@patient
@given(bases())
def test_plain(document: dict[str, object]) -> None:
    """The plain document is equal, can be written as JSON, and is one's own."""
    before = copy.deepcopy(document)
    layer = Layer("file", "f", {"inner": document, "list": [copy.deepcopy(document)]})
    config = make_config([layer])
    plain: Any = config.plain()
    assert plain == config.document
    assert json.loads(json.dumps(plain)) == plain
    plain["inner"]["new"] = 1
    plain["list"][0].clear()
    assert config.plain() == {"inner": before, "list": [before]}
