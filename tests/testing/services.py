"""Services to rehearse with: some that are well, and some that are wrong in one way each."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from serviceradar_security import X509Source
from serviceradar_security.testing import FakeAuthority, Service
from tests.testing.client import Watch, svids_of

if TYPE_CHECKING:
    from serviceradar_security import X509Context

PATIENCE: Final = 20.0  # for services that are well


def opened(endpoint: str) -> X509Source:
    source = X509Source(endpoint, answer_timeout=PATIENCE).open()
    source.wait_ready(timeout=PATIENCE)
    return source


def well(**changes: Any) -> Service[X509Source]:
    """A service that follows its identity as a source does, with changes."""
    functions: dict[str, Any] = {
        "start": opened,
        "check": lambda source: source.current(),
        "stop": lambda source: source.close(),
        "presented": lambda source: source.current().default,
    }
    return Service(**{**functions, **changes})


class Frozen:
    """A service that reads its identity once."""

    def __init__(self, endpoint: str) -> None:
        with X509Source(endpoint) as source:
            self.context: X509Context = source.wait_ready(timeout=PATIENCE)


class Fragile(Frozen):
    """A service that ends when its stream does: a client without a second attempt."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.agent = socket.socket(socket.AF_UNIX)
        self.agent.connect(endpoint.removeprefix("unix://"))
        self.agent.settimeout(0.0)

    def check(self) -> None:
        try:
            while self.agent.recv(65536):
                pass
        except BlockingIOError:
            return
        raise ConnectionError("the agent has hung up")

    def stop(self) -> None:
        self.agent.close()


class Gullible:
    """A service that uses whatever the agent sends."""

    def __init__(self, endpoint: str) -> None:
        self._channel = grpc.insecure_channel(endpoint)
        self._watch = Watch(self._channel)
        (self.newest,) = svids_of(self._watch.next())
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._stopped = threading.Event()
        self._thread.start()

    def _follow(self) -> None:
        while not self._stopped.is_set():
            if not self._watch.silent:
                (self.newest,) = svids_of(self._watch.next())
            self._stopped.wait(0.002)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(PATIENCE)
        self._channel.close()


class TlsService:
    """A TLS server that loads its newest identity for each connection, from files, as many do."""

    def __init__(self, endpoint: str) -> None:
        self._source = opened(endpoint)
        self._folder = tempfile.TemporaryDirectory(prefix="wl-")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            path = Path(self._folder.name) / "identity.pem"
            path.write_bytes(b"".join(self._source.current().default.to_pem()))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            with connection, context.wrap_socket(connection, server_side=True) as secure:
                secure.sendall(b"well")
                secure.recv(1)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._source.close()
        self._folder.cleanup()


class Client:
    """A client of `TlsService`, which trusts the authority of the moment."""

    def __init__(self, authority: FakeAuthority) -> None:
        self._authority = authority
        self.seen = b""

    def check(self, service: TlsService) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=b"".join(self._authority.bundle.der))
        with (
            socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as plain,
            context.wrap_socket(plain) as secure,
        ):
            assert secure.recv(4) == b"well"
            self.seen = secure.getpeercert(binary_form=True) or b""

    def presented(self, _service: TlsService) -> bytes:
        return self.seen
