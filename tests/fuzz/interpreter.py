"""Tell whether the fuzzer can run here, before an environment is made for it.

Run as a file, by whatever Python is there: it needs nothing but that.
"""

from __future__ import annotations

import platform
import sys

__all__ = ["MISSING", "is_supported"]

MISSING = (
    "the fuzzer atheris is published for CPython 3.11 to 3.14 on Linux x86-64 with glibc, and this "
    f"is {platform.python_implementation()} {platform.python_version()} on {platform.system()} "
    f"{platform.machine()}: name another, as in make fuzz PYTHON=python3.12 (make test replays the "
    "seeds on every Python)"
)


def is_supported() -> bool:
    """Tell whether atheris has a wheel for this interpreter."""
    return (
        sys.implementation.name == "cpython"
        and (3, 11) <= sys.version_info[:2] <= (3, 14)
        and sys.platform == "linux"
        and platform.machine() == "x86_64"
        and platform.libc_ver()[0] == "glibc"
    )


if __name__ == "__main__" and not is_supported():
    sys.exit(MISSING)
