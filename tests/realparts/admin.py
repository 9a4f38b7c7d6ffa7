"""The server's administration, as ``spire-server`` offers it on the command line."""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tests.realparts.errors import RealPartError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ServerAdmin(ABC):
    """Registration entries, bundles and X.509 authorities of a SPIRE server."""

    @abstractmethod
    def command(self, *arguments: str) -> str:
        """Run ``spire-server`` with these arguments against the server, return what it printed.

        Raises:
            RealPartError: It failed; the message holds its output and the end of the server's log.
        """

    def _query(self, *arguments: str) -> Any:
        answer = json.loads(self.command(*arguments, "-output", "json"))
        # In this format the program reports a refused item in its answer, not in its exit code.
        for result in answer.get("results", ()):
            if result["status"]["code"]:
                command = " ".join(arguments)
                raise RealPartError(f"`spire-server {command}`: {result['status']['message']}")
        return answer

    def create_entry(
        self,
        spiffe_id: str,
        *,
        selectors: Sequence[str],
        parent: str,
        x509_svid_ttl: float | None = None,
        federates_with: Sequence[str] = (),
        dns_names: Sequence[str] = (),
        hint: str = "",
    ) -> str:
        """Register a workload and return the ID of its entry.

        Args:
            spiffe_id: The identity it gets.
            selectors: What the agent must find true of it, as ``unix:uid:1000``.
            parent: SPIFFE ID of the agent.
            x509_svid_ttl: Life of its SVIDs in whole seconds; the server's default if none.
            federates_with: Trust domains, as SPIFFE IDs, whose bundles it gets as well.
            dns_names: DNS names for its SVIDs.
            hint: The entry's hint.
        """
        arguments = ["-spiffeID", spiffe_id, "-parentID", parent]
        for flag, values in (
            ("-selector", selectors),
            ("-federatesWith", federates_with),
            ("-dns", dns_names),
        ):
            arguments += [text for value in values for text in (flag, value)]
        if x509_svid_ttl is not None:
            arguments += ["-x509SVIDTTL", f"{x509_svid_ttl:.0f}"]
        if hint:
            arguments += ["-hint", hint]
        answer = self._query("entry", "create", *arguments)
        return str(answer["results"][0]["entry"]["id"])

    def delete_entry(self, entry_id: str) -> None:
        """Delete a registration entry."""
        self._query("entry", "delete", "-entryID", entry_id)

    def show_entries(self) -> list[dict[str, Any]]:
        """Return all registration entries, as SPIRE's API writes them."""
        return list(self._query("entry", "show")["entries"])

    def show_bundle(self, *, form: str = "pem") -> str:
        """Return the server's own bundle, as ``pem`` or as ``spiffe`` (a JWK set)."""
        return self.command("bundle", "show", "-format", form)

    def set_bundle(self, trust_domain: str, bundle: str, *, form: str = "pem") -> None:
        """Set the bundle of a federated trust domain; ``show_bundle`` of its server has it."""
        with tempfile.NamedTemporaryFile("w", prefix="bundle-") as file:
            file.write(bundle)
            file.flush()
            identity = f"spiffe://{trust_domain}"
            self.command("bundle", "set", "-id", identity, "-format", form, "-path", file.name)

    def delete_bundle(self, trust_domain: str) -> None:
        """Delete the bundle of a federated trust domain, and take it from all entries."""
        self.command("bundle", "delete", "-id", f"spiffe://{trust_domain}", "-mode", "dissociate")

    def show_authorities(self) -> dict[str, dict[str, Any]]:
        """Return the X.509 authorities: ``active``, ``prepared`` and ``old``, where there is one."""
        return dict(self._query("localauthority", "x509", "show"))

    def prepare_authority(self) -> str:
        """Make the next X.509 authority, publish it in the bundle and return its ID."""
        answer = self._query("localauthority", "x509", "prepare")
        return str(answer["prepared_authority"]["authority_id"])

    def activate_authority(self, authority_id: str) -> None:
        """Sign with a prepared authority from now on."""
        self._query("localauthority", "x509", "activate", "-authorityID", authority_id)

    def taint_authority(self, authority_id: str) -> None:
        """Mark an old authority as unsafe: agents renew at once what it has signed."""
        self._query("localauthority", "x509", "taint", "-authorityID", authority_id)

    def revoke_authority(self, authority_id: str) -> None:
        """Take an old authority out of the bundle."""
        self._query("localauthority", "x509", "revoke", "-authorityID", authority_id)
