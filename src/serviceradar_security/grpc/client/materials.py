"""Identity slots: the memory files of sources, and the names by which gRPC core knows them.

Core reads the names and paths of its certificate providers once per process, so their number is
fixed: each source with open channels has one slot, with a file for key and chain and one for trust.

A slot has several lanes: pairs of providers over the same two files. A push names the next lane,
and core opens new connections with it. A lane that was never named is read afresh when it is
named. One that was named before may still be alive, held by an old connection, and re-reads its
files only each second: such a lane is named once that second has surely passed since the files
were written. So no handshake after a push is older than the push. Withdrawal does not wait: it
names a lane over files that nobody ever fills.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from serviceradar_security.errors import SecurityError
from serviceradar_security.grpc.client.memory_file import MemoryFile
from serviceradar_security.grpc.client.rotation import Standing, mark_pushed, plan_step
from serviceradar_security.grpc.client.trust import HOSTS, SPIFFE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from serviceradar_security.grpc.client.rotation import Snapshot, Step
    from serviceradar_security.grpc.client.trust import TrustKind
    from serviceradar_security.identity.context import X509ContextSource
    from serviceradar_security.identity.credentials import TlsCredentialsSource
    from serviceradar_security.identity.svid import PrivateKey

    Source = X509ContextSource | TlsCredentialsSource

__all__ = ["HOST_SLOTS", "LANES", "PROVIDER_PREFIX", "SLOTS", "Materials", "Slot"]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
SLOTS: Final = 32
"""How many sources can have open channels at once in one process."""
HOST_SLOTS: Final = 8
"""The same, of sources whose servers are known by host names."""
LANES: Final = 8
_REFRESH: Final = 1  # seconds between reads of a live provider; core knows no less
_SURELY_READ: Final = 1.625
_NOBODY: Final = "nobody"
PROVIDER_PREFIX: Final = "serviceradar-security:"
"""Begins the name of each of our certificate providers, which share a table with others'."""


class Slot:
    """The files of one source, and the lane that channels use now."""

    def __init__(self, number: int, kind: TrustKind = SPIFFE) -> None:
        """Make an empty slot for sources of a kind."""
        self.number = number
        self.kind = kind
        self.users = 0
        self.released_at: float = float("-inf")
        self._identity = MemoryFile(f"identity-{number}")
        self._trust = MemoryFile(f"trust-{number}")
        self._trust.replace(kind.nothing())
        self._standing = Standing()
        self._lane: int | None = None
        self._next = 0
        self._warm: set[int] = set()  # lanes that may be alive
        self._wanted_since: float | None = None
        self._source: Callable[[], Source | None] = _no_source
        self._subscription = contextlib.ExitStack()
        self._said = ""

    @property
    def identity_name(self) -> str:
        """Name of the provider with our key and chain."""
        return _name("identity", self.number, self._lane)

    @property
    def trust_name(self) -> str:
        """Name of the provider with the bundle map."""
        return _name("trust", self.number, self._lane)

    def belongs_to(self, source: Source) -> bool:
        """Tell whether this is the slot of that very source."""
        return self.users > 0 and self._source() is source

    def is_quiet(self, now: float) -> bool:
        """Tell whether no provider of a free slot is alive: a live one reads each second.

        A closed channel can live on in core, held by an exception of the application for one.
        """
        if now - self.released_at < _SURELY_READ:
            return False
        return not (self._identity.was_read() or self._trust.was_read())

    def take(self, source: Source, wake: Callable[[], None], now: float) -> None:
        """Give the slot to a source.

        Args:
            source: Held weakly: its channels keep it alive.
            wake: Called from any thread when the source has something new.
            now: Monotonic time.
        """
        try:
            self._source = weakref.ref(source)
        except TypeError:
            self._source = lambda: source
        self._said = ""
        if self.is_quiet(now):
            self._warm.clear()
        subscribe = getattr(source, "subscribe", None)
        if subscribe is not None:
            try:
                self._subscription.enter_context(subscribe(lambda *_: wake()))
            except Exception as error:  # noqa: BLE001 - a foreign source; asking it each second remains
                _LOG.debug("%r cannot be subscribed to: %s", source, error)

    def release(self, now: float) -> None:
        """Withdraw the files and forget the source.

        Raises:
            SecurityError: The files are not ours any more.
        """
        try:
            self._subscription.close()
        except Exception as error:  # noqa: BLE001 - a foreign source; the subscription is over
            _LOG.debug("a subscription did not end in order: %s", error)
        self._source = _no_source
        self._standing = Standing()
        self.released_at = now
        self._withdraw()

    def step(self, now: datetime, clock: float) -> bool:
        """Ask the source, write what changed, and say whether channels must be pointed anew.

        Args:
            now: The time, for certificates.
            clock: Monotonic time, for lanes.
        """
        was_shown = self._lane is not None
        try:
            standing, step = plan_step(self._standing, self._ask(), now)
            self._write(step)
        except Exception as error:  # noqa: BLE001 - whatever it is, what is old must not go on
            self._cut_off(f"{type(error).__name__}: {error}")
            return was_shown
        self._standing = standing
        if step.withdraw:
            _LOG.warning("gRPC channels are cut off: %s", step.push)
            return True
        if not step.push:
            self._wanted_since = None
            return False
        if self._wanted_since is None:
            self._wanted_since = clock
        if self._next in self._warm and clock - self._wanted_since < _SURELY_READ:
            return False
        _LOG.debug("connections of slot %d are made anew: %s", self.number, step.push)
        self._lane = self._next
        self._warm.add(self._next)
        self._next = (self._next + 1) % LANES
        self._wanted_since = None
        self._standing = mark_pushed(self._standing)
        return True

    def expires_in(self, now: datetime) -> float:
        """Seconds until the identity that is written ends; infinite while there is none."""
        svid = self._standing.svid
        return float("inf") if svid is None else (svid.not_after - now).total_seconds()

    def is_waiting(self) -> bool:
        """Tell whether a push waits for its lane."""
        return self._wanted_since is not None

    def providers(self) -> dict[str, Any]:
        """Describe the slot's lanes for the bootstrap."""
        found: dict[str, Any] = {}
        for lane in range(LANES):
            found |= _pair(self.number, lane, self._identity, self._trust, self.kind)
        return found

    def close(self) -> None:
        """Give the files back."""
        self._identity.close()
        self._trust.close()

    def _ask(self) -> Snapshot | None:
        source = self._source()
        said = ""
        found: Any = None  # a foreign source may give anything
        try:
            found = source.current() if source is not None else None
            if found is not None and not isinstance(found, self.kind.snapshot):
                wanted = self.kind.snapshot.__name__
                said = f"the source gave {type(found).__name__}, and not {wanted}"
                found = None
        except SecurityError as error:
            said = str(error)
        except Exception as error:  # noqa: BLE001 - a foreign source; its failure is no identity
            said = f"the source failed with {type(error).__name__}"
        if said != self._said:
            self._said = said
            if said:
                _LOG.warning("gRPC channels have no identity to show: %s", said)
            else:
                _LOG.info("gRPC channels have an identity to show again")
        return found if isinstance(found, self.kind.snapshot) else None

    def _write(self, step: Step) -> None:
        if step.withdraw:
            self._withdraw()
        if step.trust is not None:
            self._trust.replace(step.trust)
        if step.identity is not None:
            chain, key = step.identity.to_pem()
            self._identity.replace(key + chain)
            if not _is_signed_with(step.identity.private_key):
                _LOG.warning(
                    "gRPC core does not sign with the kind of key that %s has, so handshakes "
                    "fail: issue it with an ECDSA key on P-256 or P-384, or with an RSA key",
                    step.identity.spiffe_id or "our certificate",
                )

    def _withdraw(self) -> None:
        # First what cannot fail: channels are pointed at nothing even if no file can be written.
        self._lane = None
        self._wanted_since = None
        self._identity.withdraw()
        self._trust.replace(self.kind.nothing())

    def _cut_off(self, reason: str) -> None:
        """Point channels at nothing until the next step succeeds."""
        self._lane = None
        self._wanted_since = None
        self._standing = Standing()
        if reason != self._said:
            self._said = reason
            _LOG.error("gRPC channels are cut off: %s", reason)


class Materials:
    """All slots of the process."""

    def __init__(self) -> None:
        """Make the files; nothing is in them."""
        self._slots = [
            Slot(number, SPIFFE if number < SLOTS else HOSTS)
            for number in range(SLOTS + HOST_SLOTS)
        ]
        self._no_identity = MemoryFile(f"identity-{_NOBODY}")
        self._no_trust = MemoryFile(f"trust-{_NOBODY}")
        self._no_trust.replace(SPIFFE.nothing())

    def providers(self) -> dict[str, Any]:
        """Describe every certificate provider for the bootstrap."""
        found = _pair(_NOBODY, None, self._no_identity, self._no_trust, SPIFFE)
        for slot in self._slots:
            found |= slot.providers()
        return found

    def in_use(self) -> list[Slot]:
        """Give the slots that have open channels."""
        return [slot for slot in self._slots if slot.users]

    def has_room_for(self, source: Source, kind: TrustKind = SPIFFE) -> bool:
        """Tell whether a slot is free, or is this source's own."""
        slots = self._of(kind)
        return any(not slot.users or slot.belongs_to(source) for slot in slots)

    def acquire(
        self,
        source: Source,
        wake: Callable[[Slot], None],
        clock: float,
        kind: TrustKind = SPIFFE,
    ) -> Slot:
        """Count a user of a source's slot, and assign one if it has none.

        Args:
            source: The source.
            wake: Called from any thread when the slot should be looked at.
            clock: Monotonic time.
            kind: What the source gives.

        Raises:
            SecurityError: All slots belong to other sources.
        """
        slots = self._of(kind)
        for slot in slots:
            if slot.belongs_to(source):
                slot.users += 1
                return slot
        free = [slot for slot in slots if not slot.users]
        if not free:
            raise SecurityError(
                f"{len(slots)} sources have open gRPC channels, and a process has no room for "
                "more: share one source between channels, or close the channels of sources that "
                "are no longer needed",
            )
        slot = min(free, key=lambda each: (not each.is_quiet(clock), each.released_at))
        slot.take(source, lambda: wake(slot), clock)
        slot.users = 1
        return slot

    def _of(self, kind: TrustKind) -> list[Slot]:
        return [slot for slot in self._slots if slot.kind is kind]

    def release(self, slot: Slot, clock: float) -> None:
        """Uncount a user; the last one ends the assignment."""
        slot.users -= 1
        if not slot.users:
            slot.release(clock)

    def close(self) -> None:
        """Give all files back."""
        for slot in self._slots:
            slot.close()
        self._no_identity.close()
        self._no_trust.close()


def _no_source() -> None:
    return None


def _is_signed_with(key: PrivateKey) -> bool:
    """Tell whether core's TLS can show a certificate with such a key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return isinstance(key, rsa.RSAPrivateKey)


def _name(kind: str, slot: object, lane: int | None) -> str:
    own = _NOBODY if lane is None else f"{slot}-{lane}"
    return f"{PROVIDER_PREFIX}{kind}-{own}"


def _pair(
    slot: object,
    lane: int | None,
    identity: MemoryFile,
    trust: MemoryFile,
    kind: TrustKind,
) -> dict[str, Any]:
    return {
        _name("identity", slot, lane): _watch(
            certificate_file=identity.path,
            private_key_file=identity.path,
        ),
        _name("trust", slot, lane): _watch(**{kind.setting: trust.path}),
    }


def _watch(**files: str) -> dict[str, Any]:
    config = {"refresh_interval": f"{_REFRESH}s", **files}
    return {"plugin_name": "file_watcher", "config": config}
