"""The page of metrics and the code say the same (docs/metrics.md)."""

from __future__ import annotations

import re
from pathlib import Path

from serviceradar_security.metrics.samples import FAMILIES, STATES

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| `([\w.]+)` \| (\w+) \| ([^|]*) \| ([^|]+) \|$", re.MULTILINE)
TYPES = {"states": "gauge", "gauge": "gauge", "counter": "counter", "info": "info"}


def test_the_table() -> None:
    """Each metric has its row: both names, type, labels and meaning, in order."""
    assert ROW.findall(PAGE) == [
        (
            family.prometheus_name,
            family.name,
            TYPES[family.kind],
            ", ".join(f"`{each}`" for each in ("source", family.label) if each),
            family.help.removesuffix("."),
        )
        for family in FAMILIES
    ]


def test_every_name_on_the_page_exists() -> None:
    """Alerts and texts name only metrics and states that there are."""
    known = {family.prometheus_name for family in FAMILIES}
    assert set(re.findall(r"\bspiffe_source_\w+", PAGE)) == known
    known = {family.name for family in FAMILIES} | {
        "spiffe.source.name",
        "spiffe.source.state",
        "spiffe.source.failure",
    }
    assert set(re.findall(r"\bspiffe\.source\.[\w.]*\w", PAGE)) == known
    assert set(re.findall(r'state="(\w+)"', PAGE)) <= set(STATES)
    assert all(f"`{state}`" in PAGE for state in STATES)
