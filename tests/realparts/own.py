"""Go programs of our own: modules below ``tests/go`` with sources beside their go.mod.

They are built and kept as `build` does it, under a key over their sources as well: a program whose
source has changed is another program.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from tests.realparts import build

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["own_program"]

_BUILT_FROM: Final = ("go.mod", "go.sum", "*.go")


def own_program(module: str, *, search_path: str | None = None) -> Path:
    """Return the program of a Go module of ours, building it if it is not there.

    Args:
        module: The name of a folder below ``tests/go``; the program has that name too.
        search_path: Where to look for ``go``; ``PATH`` if none is given.

    Raises:
        RealPartError: Go is missing or too old, or the build failed.
    """
    source = build.GO_MODULES / module
    go, version = build._find_go(source, search_path)
    digest = hashlib.sha256(version)
    for pattern in _BUILT_FROM:
        for file in sorted(source.glob(pattern)):
            digest.update(hashlib.sha256(file.name.encode() + b"\0" + file.read_bytes()).digest())
    target = build._cache() / "go" / f"{module}-{digest.hexdigest()[:16]}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with build._locked(target.with_suffix(".lock"), f"another process to build {module}"):
            if not target.is_dir():
                build._build(go, source, target)
    return target / "bin" / module
