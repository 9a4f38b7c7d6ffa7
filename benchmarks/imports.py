"""The import of `SpiffeId` in a fresh process, against the import of `cryptography.x509`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.interleave import Row, compare
from benchmarks.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows() -> Iterator[Row]:
    """Measure."""
    yield compare(
        "process that imports SpiffeId",
        lambda: _imported("from serviceradar_security import SpiffeId"),
        "process that imports cryptography.x509",
        lambda: _imported("import cryptography.x509"),
        number=3,
    )
    yield compare(
        "process that imports verify_x509_svid",
        lambda: _imported("from serviceradar_security import verify_x509_svid"),
        "process that imports cryptography.x509",
        lambda: _imported("import cryptography.x509"),
        number=3,
    )


def _imported(program: str) -> None:
    run(program)
