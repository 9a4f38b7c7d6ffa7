"""How the demo speaks, in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping


class Show:
    """Write one line a fact."""

    def __init__(self, title: str) -> None:
        """Write the title."""
        self._console = Console(highlight=False, soft_wrap=True)
        self._number = 0
        self._console.print(Text(f"ServiceRadar security · {title}", style="bold"))

    def note(self, text: str) -> None:
        """Say what takes a while."""
        self._console.print(Text(f"  {text}", style="dim"))

    def step(self, text: str) -> None:
        """Begin a chapter."""
        self._number += 1
        self._console.print(Text(f"\n{self._number}  {text}", style="bold cyan"))

    def fact(self, who: str, text: str) -> None:
        """Say what went well."""
        self._line("✓", "green", who, text)

    def refused(self, who: str, text: str) -> None:
        """Say what was refused, as it should be."""
        self._line("⛔", "yellow", who, text)

    def failed(self, text: str) -> None:
        """Say what did not go as told."""
        self._console.print(Text(f"\n✗ not as told: {text}", style="bold red"))

    def summary(self, facts: Mapping[str, object]) -> None:
        """End with the numbers."""
        table = Table(title="\nAll went as told", title_justify="left", show_header=False)
        for name, value in facts.items():
            table.add_row(name, str(value))
        self._console.print(table)

    def _line(self, mark: str, style: str, who: str, text: str) -> None:
        self._console.print(
            Text.assemble("  ", (f"{mark} ", style), (f"{who:10}", "bold"), text),
        )
