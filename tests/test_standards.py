"""The page of standards, the code and the tests say the same (docs/standards.md)."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import serviceradar_security

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "standards.md"
CODE = Path(serviceradar_security.__file__).resolve().parent

GROUPS = {"ID": 18, "TD": 5, "X509": 30, "BUNDLE": 15, "WLAPI": 36, "EP": 15}
ITEMS = [
    f"R-{group}-{number:02}" for group, last in GROUPS.items() for number in range(1, last + 1)
]
STATES = ("done", "stricter", "otherwise: ", "not applicable: ")
ITEM = re.compile(r"R-(ID|TD|X509|BUNDLE|WLAPI|EP)-(\d\d)")
# "R-ID-01", "R-ID-01, -02", "R-ID-01 to -05", "R-ID-01, R-ID-03 to R-ID-05": one group each.
CITATION = re.compile(
    r"R-(?P<group>ID|TD|X509|BUNDLE|WLAPI|EP)-"
    r"(?P<numbers>\d\d(?:(?:, | and | to )(?:R-(?P=group))?-\d\d)*)"
)
STEP = re.compile(r"(?P<word>, | and | to |^)(?:R-\w+)?-?(?P<number>\d\d)")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
MODULE = re.compile(r"`([\w/]+)`")


def cited(text: str) -> set[str]:
    """Find the items that a text cites, ranges and lists included."""
    found = set()
    for citation in CITATION.finditer(text):
        last = 0
        for step in STEP.finditer(citation["numbers"]):
            number = int(step["number"])
            first = last if step["word"] == " to " else number
            found |= {f"R-{citation['group']}-{each:02}" for each in range(first, number + 1)}
            last = number
    return found


@dataclass(frozen=True)
class Row:
    """One item of the page."""

    item: str
    clause: str
    asks: str
    state: str
    modules: tuple[str, ...]
    tests: tuple[tuple[str, str], ...]


@cache
def rows() -> tuple[Row, ...]:
    """Read the rows of the tables."""
    found = []
    for line in PAGE.read_text().splitlines():
        if not line.startswith("| R-"):
            continue
        item, clause, asks, state, code, tests = (
            each.strip() for each in line.strip("|").split(" | ")
        )
        modules, named = tuple(MODULE.findall(code)), tuple(TEST.findall(tests))
        assert re.sub(rf"{MODULE.pattern}|<br>", "", code) in {"", "none"}, item
        assert re.sub(rf"{TEST.pattern}|<br>", "", tests) in {"", "none"}, item
        found.append(Row(item, clause, asks, state, modules, named))
    return tuple(found)


@cache
def names_in(path: str) -> frozenset[str]:
    """Give the names of the tests of a file, without importing it."""
    tree = ast.parse((HERE.parent / path).read_text())
    return frozenset(
        each.name
        for each in tree.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        and each.name.startswith("test_")
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# R-ID-01", {"R-ID-01"}),
        ("(R-BUNDLE-03 to -05)", {"R-BUNDLE-03", "R-BUNDLE-04", "R-BUNDLE-05"}),
        ("R-BUNDLE-04, -08", {"R-BUNDLE-04", "R-BUNDLE-08"}),
        ("R-X509-28 to R-X509-30", {"R-X509-28", "R-X509-29", "R-X509-30"}),
        ("R-ID-01, -03 to -05 and -07", {f"R-ID-0{each}" for each in (1, 3, 4, 5, 7)}),
        ("R-TD-02, R-ID-18", {"R-TD-02", "R-ID-18"}),
        ("R-X509-09: a -10 elsewhere", {"R-X509-09"}),
        ("R-WLAPI-06 to -08", {f"R-WLAPI-0{each}" for each in (6, 7, 8)}),
        ("R-EP-11, R-WLAPI-29", {"R-EP-11", "R-WLAPI-29"}),
        ("R-TLS-01, -02", set()),
    ],
)
def test_how_citations_are_read(text: str, expected: set[str]) -> None:
    """Lists and ranges count for each of their items, and nothing else does."""
    assert cited(text) == expected


def test_each_item_stands_on_the_page_once() -> None:
    """The page has the items of the closed list, each in one row, in order, and no other."""
    assert [row.item for row in rows()] == ITEMS
    named = Counter(found[0] for found in ITEM.finditer(PAGE.read_text()))
    assert set(named) == set(ITEMS)


@pytest.mark.parametrize("item", ITEMS)
def test_an_item(item: str) -> None:
    """An item says what it asks, where we are, and what does and shows it; the tests are there."""
    (row,) = (each for each in rows() if each.item == item)

    assert row.clause
    assert row.asks
    assert row.state.startswith(STATES)
    if not row.state.startswith("not applicable"):
        assert row.modules
        assert row.tests
    for path, name in row.tests:
        assert name in names_in(path), f"{path}::{name}"


@pytest.mark.parametrize("item", ITEMS)
def test_an_item_is_cited_where_it_acts(item: str) -> None:
    """Each module that the page names cites the item's number."""
    (row,) = (each for each in rows() if each.item == item)
    missing = [
        module for module in row.modules if item not in cited((CODE / f"{module}.py").read_text())
    ]

    assert missing == []


def test_no_module_cites_what_there_is_not() -> None:
    """Every number of these groups in the code is one of the list."""
    strangers = {
        f"{path.relative_to(CODE)}: {item}"
        for path in CODE.rglob("*.py")
        for item in cited(path.read_text()) - set(ITEMS)
    }

    assert strangers == set()
