"""Run programs in fresh processes, with byte code compiled before, as in an installation."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile


@functools.cache
def _environment() -> dict[str, str]:
    # Kept until the end of this process; the first run of each program, which is not counted,
    # fills it.
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder.name}


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def run(program: str) -> str:
    """Run Python code and give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=_environment(),
    )
    return done.stdout
