"""A SPIRE server whose datastore is Postgres."""

from __future__ import annotations

import json
import random
import shutil
import socket
import ssl
from functools import cached_property
from typing import TYPE_CHECKING, Final

from tests.realparts import build, process
from tests.realparts.admin import ServerAdmin
from tests.realparts.errors import RealPartError
from tests.realparts.part import Part

if TYPE_CHECKING:
    from pathlib import Path

    from tests.realparts.postgres import Postgres

__all__ = ["SpireServer", "go_duration"]

_READY_TIMEOUT: Final = 60.0
_COMMAND_TIMEOUT: Final = 20.0
_PORT_ATTEMPTS: Final = 5


def go_duration(value: float) -> str:
    """Write seconds as Go reads a duration."""
    return f"{value * 1000:.0f}ms"


def _free_port() -> int:
    """Return a port that nobody listens on, below the range of outgoing connections.

    The kernel's own choice (port 0) lies in that range: while the server is down, a connection of
    any other program could take its port.
    """
    while True:
        port = random.randrange(15000, 32000)  # noqa: S311  # not a secret
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class SpireServer(ServerAdmin, Part):
    """A SPIRE server whose datastore is a Postgres.

    Keys are on disk and the port stays, so `start` after `stop` continues where it was.

    Args:
        postgres: A cluster that runs.
        trust_domain: Name of the trust domain.
        default_x509_svid_ttl: Life of SVIDs whose entry names none, in seconds.
        ca_ttl: Life of an authority in seconds; nothing that it signs lives longer.
        agent_ttl: Life of the agents' own SVIDs in seconds.
    """

    def __init__(
        self,
        postgres: Postgres,
        *,
        trust_domain: str,
        default_x509_svid_ttl: float = 60.0,
        ca_ttl: float = 86400.0,
        agent_ttl: float = 3600.0,
    ) -> None:
        self.trust_domain = trust_domain
        self.folder = process.temp_folder("ss")
        self.log = self.folder / "server.log"
        self.port = 0
        self.process: process.Process | None = None
        self._socket = self.folder / "admin.sock"
        self._settings = f"""
            server {{
                bind_address = "127.0.0.1"
                bind_port = $PORT
                socket_path = "{self._socket}"
                trust_domain = {json.dumps(trust_domain)}
                data_dir = "{self.folder}/data"
                log_level = "INFO"
                ca_key_type = "ec-p256"
                ca_ttl = "{go_duration(ca_ttl)}"
                default_x509_svid_ttl = "{go_duration(default_x509_svid_ttl)}"
                agent_ttl = "{go_duration(agent_ttl)}"
                experimental {{ cache_reload_interval = "1s" }}
            }}
            plugins {{
                DataStore "sql" {{ plugin_data {{
                    database_type = "postgres"
                    connection_string = "{postgres.connection_string}"
                }} }}
                KeyManager "disk" {{ plugin_data {{ keys_path = "{self.folder}/data/keys.json" }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
            }}
        """

    @cached_property
    def program(self) -> Path:
        """The program ``spire-server``, which is built if need be."""
        return build.binaries("spire") / "spire-server"

    @property
    def running(self) -> bool:
        """Whether the server is up."""
        return self.process is not None and self.process.running

    def start(self) -> None:
        """Start the server and wait until it is healthy; nothing happens if it runs.

        Raises:
            RealPartError: It ended or was not healthy in time; the message shows its log.
        """
        if self.running:
            return
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        if self.port:
            self._launch()
            return
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self.port = _free_port()
            try:
                self._launch()
            except RealPartError as error:
                if attempt == _PORT_ATTEMPTS or "address already in use" not in str(error):
                    raise
            else:
                return

    def _launch(self) -> None:
        config = self.folder / "server.conf"
        config.write_text(self._settings.replace("$PORT", str(self.port)))
        self.process = process.start(
            [self.program, "run", "-config", config], log=self.log, cwd=self.folder
        )
        process.wait_until(
            self._healthy,
            timeout=_READY_TIMEOUT,
            process=self.process,
            what="the server is healthy",
        )

    def _healthy(self) -> bool:
        return self._socket.exists() and process.succeeds(
            [self.program, "healthcheck", "-socketPath", self._socket],
            cwd=self.folder,
            timeout=_COMMAND_TIMEOUT,
        )

    def stop(self) -> None:
        """Stop the server (SIGTERM); nothing happens if it is down."""
        if self.process:
            self.process.stop()

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def certificate(self) -> bytes:
        """Return the certificate (DER) that the server shows to its agents."""
        address = ("127.0.0.1", self.port)
        try:
            pem = ssl.get_server_certificate(address, timeout=_COMMAND_TIMEOUT)
        except OSError as error:
            raise RealPartError(f"no certificate from the SPIRE server: {error}") from error
        return ssl.PEM_cert_to_DER_cert(pem)

    def command(self, *arguments: str) -> str:
        """Run ``spire-server`` with these arguments against this server."""
        try:
            return process.run(
                [self.program, *arguments, "-socketPath", self._socket],
                cwd=self.folder,
                timeout=_COMMAND_TIMEOUT,
            )
        except RealPartError as error:
            raise RealPartError(f"{error}\n{process.tail(self.log)}") from error
