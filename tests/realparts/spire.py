"""A SPIRE server and agent on a Postgres of their own.

`Spire` is all three. Its trust domain, lives and key store are arguments; intervals are short, so
that a new entry works after a second. Tests may stop, kill and pause each part.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tests.realparts import process
from tests.realparts.admin import ServerAdmin
from tests.realparts.agent import KeyManager, SpireAgent
from tests.realparts.part import Part
from tests.realparts.postgres import Postgres
from tests.realparts.server import SpireServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Spire", "SpireAgent", "SpireServer"]

_SPREAD: Final = 15.0  # seconds for news to reach all parts; the slowest looks every five


class Spire(ServerAdmin, Part):
    """Postgres, a SPIRE server and a SPIRE agent.

    Args:
        trust_domain: Name of the trust domain.
        default_x509_svid_ttl: Life of SVIDs whose entry names none, in seconds.
        ca_ttl: Life of an authority in seconds; nothing that it signs lives longer.
        key_manager: Where the agent keeps its key, see `SpireAgent`.
    """

    def __init__(
        self,
        *,
        trust_domain: str = "example.org",
        default_x509_svid_ttl: float = 60.0,
        ca_ttl: float = 86400.0,
        key_manager: KeyManager = "disk",
    ) -> None:
        self.trust_domain = trust_domain
        self.postgres = Postgres()
        self.server = SpireServer(
            self.postgres,
            trust_domain=trust_domain,
            default_x509_svid_ttl=default_x509_svid_ttl,
            ca_ttl=ca_ttl,
        )
        self.agent = SpireAgent(self.server, key_manager=key_manager)
        self._entries: set[str] = set()

    @property
    def workload_socket(self) -> Path:
        """Path of the Workload API's socket."""
        return self.agent.workload_socket

    @property
    def endpoint(self) -> str:
        """The Workload API, as ``SPIFFE_ENDPOINT_SOCKET`` names it."""
        return self.agent.endpoint

    def start(self) -> None:
        """Start what is down and resume what is paused."""
        self.postgres.start()
        self.server.start()
        self.agent.resume()
        self.agent.start()

    def reset(self) -> None:
        """Start what a test has stopped and delete the entries that it has left."""
        self.start()
        left = list(self._entries)
        for entry_id in left:
            self.delete_entry(entry_id)
        for entry_id in left:
            self.agent.await_removal(entry_id, timeout=_SPREAD)

    def close(self) -> None:
        """Stop all three and remove their folders."""
        for part in (self.agent, self.server, self.postgres):
            part.close()

    def command(self, *arguments: str) -> str:
        """Run ``spire-server`` with these arguments against the server."""
        return self.server.command(*arguments)

    def create_entry(
        self,
        spiffe_id: str,
        *,
        selectors: Sequence[str] = (),
        parent: str = "",
        x509_svid_ttl: float | None = None,
        federates_with: Sequence[str] = (),
        dns_names: Sequence[str] = (),
        hint: str = "",
        wait: float | None = None,
    ) -> str:
        """Register a workload and return the ID of its entry.

        Args:
            spiffe_id: The identity it gets.
            selectors: What the agent must find true of it; the caller's user ID if none is given.
            parent: SPIFFE ID of the agent, this one's if none is given.
            x509_svid_ttl: Life of its SVIDs in whole seconds; the server's default if none.
            federates_with: Trust domains, as SPIFFE IDs, whose bundles it gets as well.
            dns_names: DNS names for its SVIDs.
            hint: The entry's hint.
            wait: How long to wait for the agent to know it, in seconds; not at all if none.
        """
        entry_id = super().create_entry(
            spiffe_id,
            selectors=selectors or [f"unix:uid:{os.getuid()}"],
            parent=parent or self.agent.spiffe_id,
            x509_svid_ttl=x509_svid_ttl,
            federates_with=federates_with,
            dns_names=dns_names,
            hint=hint,
        )
        self._entries.add(entry_id)
        if wait is not None:
            self.agent.await_entry(entry_id, timeout=wait)
        return entry_id

    def delete_entry(self, entry_id: str, *, wait: float | None = None) -> None:
        """Delete a registration entry, and wait for the agent to drop it if asked to."""
        super().delete_entry(entry_id)
        self._entries.discard(entry_id)
        if wait is not None:
            self.agent.await_removal(entry_id, timeout=wait)

    def prepare_authority(self, *, wait: float | None = _SPREAD) -> str:
        """Make the next X.509 authority and return its ID, once it is in the agent's bundle.

        Activated any sooner, it would sign for peers who do not know it.

        Args:
            wait: How long to wait for that, in seconds; not at all if none, as for a dead agent.
        """
        authority_id = super().prepare_authority()
        key_id = bytes.fromhex(authority_id)
        self._await(
            lambda: any(key_id in certificate for certificate in self.agent.authorities()),
            timeout=wait,
            what=f"the agent has the authority {authority_id}",
        )
        return authority_id

    def revoke_authority(self, authority_id: str, *, wait: float | None = _SPREAD) -> None:
        """Take an old authority out of the bundle, once neither server nor agent depends on it.

        After `taint_authority` the server takes up to five seconds to renew its own certificate;
        an agent that meets one of a revoked authority ends.

        Args:
            authority_id: The ID of an old authority.
            wait: How long to wait for that, in seconds; not at all if none, as for a dead agent.
        """
        key_id = bytes.fromhex(authority_id)
        self._await(
            lambda: key_id not in self.server.certificate() + self.agent.certificate(),
            timeout=wait,
            what=f"server and agent have renewed what the authority {authority_id} has signed",
        )
        super().revoke_authority(authority_id)

    def _await(self, condition: Callable[[], bool], *, timeout: float | None, what: str) -> None:
        if timeout is not None and self.server.process is not None:
            process.wait_until(condition, timeout=timeout, process=self.server.process, what=what)
