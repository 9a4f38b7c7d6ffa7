"""Get the real parts ready, so that their cost is seen before anything is tested."""

from __future__ import annotations

import sys

from tests.realparts.build import binaries
from tests.realparts.errors import RealPartError
from tests.realparts.postgres import find_postgres


def main() -> int:
    """Build SPIRE and spiffe-helper, and find Postgres, or install it."""
    try:
        binaries("spire")
        binaries("spiffe_helper")
        find_postgres()
    except RealPartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
