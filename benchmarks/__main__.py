"""Print every row: python -m benchmarks."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks import bundles, config, grpc_calls, imports, source, verification


def main() -> None:
    """Measure and print."""
    table = Table("what", "against", "ours µs", "theirs µs", "speed ratio")
    for module in (verification, bundles, config, imports, source, grpc_calls):
        for row in module.rows():
            table.add_row(
                row.what,
                row.against,
                _micro(row.ours),
                _micro(row.theirs),
                f"{row.ratio:.2f}" if row.ratio < 100 else f"{row.ratio:.0f}",
            )
    Console().print(table)
    print("A ratio above 1 means that ours is faster. Medians of alternating rounds.")


def _micro(seconds: float) -> str:
    micro = seconds * 1e6
    return f"{micro:.0f}" if micro >= 10 else f"{micro:.2f}"  # down to nanoseconds


if __name__ == "__main__":
    main()
