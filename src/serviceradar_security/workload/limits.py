"""How much a Workload API may send: named limits with defaults, checked before work is done."""

from __future__ import annotations

from dataclasses import dataclass, fields

from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.verify import MAX_CHAIN_LENGTH

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one message may hold; more of it is refused, and what is held stays.

    Attributes:
        message_bytes: Size of a message, far above gRPC's usual 4 MiB (R-WLAPI-30).
        svids: How many SVIDs.
        bundles: How many federated bundles.
        chain_length: How many certificates the chain of an SVID may have, at most 16.

    Raises:
        ConfigError: One of them is no whole number in its range.
    """

    message_bytes: int = 64 * 1024 * 1024
    svids: int = 1_000
    bundles: int = 20_000
    chain_length: int = MAX_CHAIN_LENGTH

    def __post_init__(self) -> None:
        highest = {"message_bytes": 2**32 - 1, "chain_length": MAX_CHAIN_LENGTH}
        for each in fields(self):
            value = getattr(self, each.name)
            most = highest.get(each.name)
            fine = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not fine or (most is not None and value > most):
                raise ConfigError(
                    f"the limit {each.name} is {value!r}: give a whole number from 1"
                    + ("" if most is None else f" to {most}"),
                )
