"""A SPIRE agent that attests itself to a server with a join token."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import ssl
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.realparts import process
from tests.realparts.errors import RealPartError
from tests.realparts.part import Part
from tests.realparts.server import SpireServer, go_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["KeyManager", "SpireAgent"]

KeyManager = Literal["disk", "memory"]

_READY_TIMEOUT: Final = 60.0
_COMMAND_TIMEOUT: Final = 20.0


class SpireAgent(Part):
    """A SPIRE agent on one server; a server may have several, with a name each.

    Args:
        server: A server that runs.
        name: The last part of its SPIFFE ID, ``spiffe://TRUST-DOMAIN/agent/NAME``.
        key_manager: With ``disk`` the agent comes back with its identity, even after `kill`; with
            ``memory`` it attests itself anew at each start.
    """

    def __init__(
        self,
        server: SpireServer,
        *,
        name: str = "local",
        key_manager: KeyManager = "disk",
    ) -> None:
        self.server = server
        self.spiffe_id = f"spiffe://{server.trust_domain}/agent/{name}"
        self.folder = process.temp_folder("sa")
        self.log = self.folder / "agent.log"
        self.workload_socket = self.folder / "agent.sock"
        self.process: process.Process | None = None
        self._key_manager = key_manager
        self._attested = False
        self._log_start = 0

    @property
    def program(self) -> Path:
        """The program ``spire-agent``."""
        return self.server.program.with_name("spire-agent")

    @property
    def endpoint(self) -> str:
        """The Workload API, as ``SPIFFE_ENDPOINT_SOCKET`` names it."""
        return f"unix://{self.workload_socket}"

    @property
    def running(self) -> bool:
        """Whether the agent is up (or paused)."""
        return self.process is not None and self.process.running

    def start(self) -> None:
        """Start the agent and wait until it is healthy; nothing happens if it runs.

        Raises:
            RealPartError: It ended or was not healthy in time; the message shows its log.
        """
        if self.running:
            return
        config = self.folder / "agent.conf"
        argv: list[str | Path] = [self.program, "run", "-config", config]
        if not self._attested or self._key_manager == "memory":
            (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
            (self.folder / "bootstrap.pem").write_text(self.server.show_bundle())
            token = self.server.command(
                "token", "generate", "-spiffeID", self.spiffe_id, "-output", "json"
            )
            argv += ["-joinToken", json.loads(token)["value"]]
        config.write_text(self._settings())
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self.process = process.start(argv, log=self.log, cwd=self.folder)
        process.wait_until(
            self._healthy, timeout=_READY_TIMEOUT, process=self.process, what="the agent is healthy"
        )
        self._attested = True

    def _settings(self) -> str:
        keys = f'directory = "{self.folder}/data"' if self._key_manager == "disk" else ""
        return f"""
            agent {{
                data_dir = "{self.folder}/data"
                server_address = "127.0.0.1"
                server_port = {self.server.port}
                socket_path = "{self.workload_socket}"
                trust_domain = {json.dumps(self.server.trust_domain)}
                trust_bundle_path = "{self.folder}/bootstrap.pem"
                log_level = "DEBUG"
                experimental {{ sync_interval = "1s" }}
            }}
            plugins {{
                KeyManager "{self._key_manager}" {{ plugin_data {{ {keys} }} }}
                NodeAttestor "join_token" {{ plugin_data {{}} }}
                WorkloadAttestor "unix" {{ plugin_data {{
                    discover_workload_path = true
                    workload_size_limit = -1
                }} }}
            }}
        """

    def _healthy(self) -> bool:
        return self.workload_socket.exists() and process.succeeds(
            [self.program, "healthcheck", "-socketPath", self.workload_socket],
            cwd=self.folder,
            timeout=_COMMAND_TIMEOUT,
        )

    def stop(self) -> None:
        """Stop the agent (SIGTERM); nothing happens if it is down."""
        if self.process:
            self.process.stop()

    def kill(self) -> None:
        """Kill the agent (SIGKILL): no goodbye to its workloads, the socket file stays."""
        if self.process:
            self.process.kill()

    def pause(self) -> None:
        """Freeze the agent (SIGSTOP): connections stay open and nothing answers."""
        if self.process:
            self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen agent go on (SIGCONT)."""
        if self.process:
            self.process.send(signal.SIGCONT)

    def close(self) -> None:
        """Stop the agent and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def await_entry(self, entry_id: str, *, timeout: float) -> None:
        """Wait until the agent holds an SVID for a registration entry."""
        self._await(
            lambda: 'msg="SVID updated"' in self._last_words(entry_id),
            timeout=timeout,
            what=f"the agent has an SVID for entry {entry_id}",
        )

    def await_removal(self, entry_id: str, *, timeout: float) -> None:
        """Wait until the agent does not know a registration entry, or no longer."""
        self._await(
            lambda: 'msg="Entry removed"' in (self._last_words(entry_id) or 'msg="Entry removed"'),
            timeout=timeout,
            what=f"the agent has dropped entry {entry_id}",
        )

    def renewals(self, entry_id: str) -> int:
        """Return how often the agent has got an SVID for an entry since it started."""
        return sum(f'msg="SVID updated" entry={entry_id} ' in line for line in self._lines())

    def answers(self, pid: int) -> int:
        """Return how often the agent has sent X.509-SVIDs to a process since it started."""
        said = f'msg="Fetched X.509 SVID" count=1 method=FetchX509SVID pid={pid} registered=true '
        return sum(said in line for line in self._lines())

    def _await(self, condition: Callable[[], bool], *, timeout: float, what: str) -> None:
        if self.process is None:
            raise RealPartError(f"this agent was never started, so this cannot come true: {what}")
        process.wait_until(condition, timeout=timeout, process=self.process, what=what)

    def _last_words(self, entry_id: str) -> str:
        """Return the newest line that the agent has logged about an entry since it started.

        It tells what it knows only to the workload concerned; its log tells us.
        """
        about = [line for line in self._lines() if f" entry={entry_id} " in line]
        return about[-1] if about else ""

    def _lines(self) -> list[str]:
        """Return what the agent has logged since it started."""
        return self.log.read_bytes()[self._log_start :].decode(errors="replace").splitlines()

    def certificate(self) -> bytes:
        """Return the certificate (DER) that the agent shows to the server."""
        return self._stored("svid")[0]

    def authorities(self) -> list[bytes]:
        """Return the certificates (DER) in the bundle of the trust domain, as the agent has it."""
        return self._stored("bundle")

    def _stored(self, name: str) -> list[bytes]:
        data = json.loads((self.folder / "data" / "agent-data.json").read_text())
        return [ssl.PEM_cert_to_DER_cert(base64.b64decode(pem).decode()) for pem in data[name]]

    def fetch_x509(
        self,
        *,
        timeout: float = 5.0,
        program: Path | None = None,
        user: tuple[int, int] | None = None,
    ) -> Any:
        """Ask the Workload API with ``spire-agent api fetch x509`` and return its JSON answer.

        Args:
            timeout: How long to wait for an answer, in seconds.
            program: A copy of ``spire-agent`` to ask with; its path is a selector.
            user: User ID and group ID to ask as, as root only.

        Raises:
            RealPartError: There was no answer, or no identity.
        """
        arguments = ["-output", "json", "-timeout", go_duration(timeout)]
        arguments += ["-socketPath", str(self.workload_socket)]
        printed = process.run(
            [program or self.program, "api", "fetch", "x509", *arguments],
            cwd=self.folder,
            timeout=timeout + _COMMAND_TIMEOUT,
            user=user,
        )
        return json.loads(printed)
