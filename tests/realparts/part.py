"""What all parts have in common: they start, and whatever happens they are closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Part(ABC):
    """Something that runs while its ``with`` block does."""

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it is ready; nothing happens if it runs."""

    @abstractmethod
    def close(self) -> None:
        """Stop it and remove its folder."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # Ctrl-C as well: nothing half-started stays
            self.close()
            raise
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()
