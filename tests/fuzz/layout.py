"""Where seeds are and how they are put together."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.identity.pki import LOCAL, NOW, PARTNER

__all__ = ["CORPUS", "KNOWN", "LOCAL", "NOW", "PARTNER", "SEPARATOR"]

CORPUS: Final = Path(__file__).parent / "corpus"
KNOWN: Final = Path(__file__).parent / "known"
SEPARATOR: Final = b"\0next\0"
"""Stands between the certificates of a chain, and between other fields of an input."""
