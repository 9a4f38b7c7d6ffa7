"""The import of `SpiffeId` in a fresh process, against the import of `cryptography.x509`."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.interleave import Row, compare

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows() -> Iterator[Row]:
    """Measure."""
    yield compare(
        "process that imports SpiffeId",
        lambda: _run("from serviceradar_security import SpiffeId"),
        "process that imports cryptography.x509",
        lambda: _run("import cryptography.x509"),
        number=3,
    )
    yield compare(
        "process that imports verify_x509_svid",
        lambda: _run("from serviceradar_security import verify_x509_svid"),
        "process that imports cryptography.x509",
        lambda: _run("import cryptography.x509"),
        number=3,
    )


def _run(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)
