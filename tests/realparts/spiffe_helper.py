"""spiffe-helper: a program that writes an agent's X.509-SVIDs into files, and keeps them new."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from tests.realparts import process
from tests.realparts.build import binaries
from tests.realparts.part import Part

if TYPE_CHECKING:
    from pathlib import Path

    from tests.realparts.agent import SpireAgent

__all__ = ["SpiffeHelper"]

_READY_TIMEOUT: Final = 30.0
_UPDATED: Final = "X.509 certificates updated"


class SpiffeHelper(Part):
    """A spiffe-helper on one agent, in its daemon mode, with the names of its own example.

    Args:
        agent: An agent that runs, and has an identity for this process's user.
        settings: More lines of its configuration.
    """

    def __init__(self, agent: SpireAgent, *, settings: str = "") -> None:
        self.agent = agent
        self.program = binaries("spiffe_helper") / "spiffe-helper"
        self.folder = process.temp_folder("sh")
        self.log = self.folder / "helper.log"
        self.certificates = self.folder / "certs"
        self.process: process.Process | None = None
        self._settings = settings

    @property
    def files(self) -> dict[str, Path]:
        """What it writes, by name."""
        return {path.name: path for path in sorted(self.certificates.iterdir())}

    def start(self) -> None:
        """Start it and wait until it has written an identity; nothing happens if it runs.

        Raises:
            RealPartError: It ended or wrote nothing in time; the message shows its log.
        """
        if self.process is not None and self.process.running:
            return
        self.certificates.mkdir(exist_ok=True)
        config = self.folder / "helper.conf"
        config.write_text(
            f"""
            agent_address = "{self.agent.workload_socket}"
            cert_dir = "{self.certificates}"
            svid_file_name = "svid.pem"
            svid_key_file_name = "svid_key.pem"
            svid_bundle_file_name = "svid_bundle.pem"
            {self._settings}
            """
        )
        written = self.writes()
        self.process = process.start(
            [self.program, "-config", config], log=self.log, cwd=self.folder
        )
        process.wait_until(
            lambda: self.writes() > written,
            timeout=_READY_TIMEOUT,
            process=self.process,
            what="spiffe-helper has written an identity",
        )

    def writes(self) -> int:
        """Return how often it has written all files."""
        return self.log.read_text(errors="replace").count(_UPDATED) if self.log.exists() else 0

    def kill(self) -> None:
        """Kill it (SIGKILL); its files stay."""
        if self.process is not None:
            self.process.kill()

    def close(self) -> None:
        """Stop it and remove its folder."""
        if self.process is not None:
            self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
