"""What every source is as a context manager: open in the block, closed after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ManagedSource"]


class ManagedSource(ABC):
    """Open on the way into a block, and close on the way out, in threads and in asyncio."""

    @abstractmethod
    def open(self) -> Self:
        """Open it, and give it."""

    @abstractmethod
    def close(self, *, timeout: float = 5.0) -> None:
        """Close it; may be called twice."""

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
