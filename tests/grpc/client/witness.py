"""A server that asks for a client certificate and goes on without one, and tells what it saw.

grpcio's servers either demand a certificate or do not ask. This one, on `ssl` and `h2`, proves that
a client never connects without its certificate.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events

if TYPE_CHECKING:
    from serviceradar_security.testing.authority import IssuedCertificate


@dataclass(frozen=True)
class Seen:
    """What one call showed: the caller's certificate, the server name, and two headers."""

    certificate: bytes | None
    server_name: str | None
    authority: str
    encoding: str | None


class Witness:
    """Serves one unary method, whatever it is called, to anybody."""

    def __init__(self, certificate: IssuedCertificate, roots: bytes) -> None:
        self.handshakes: list[bytes | None] = []
        self.calls: list[Seen] = []
        self._names: dict[int, str | None] = {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._context.set_alpn_protocols(["h2"])
        self._context.load_verify_locations(cadata=roots.decode())
        self._context.sni_callback = self._note_name
        chain, key = certificate.to_pem()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "server.pem")
            path.write_bytes(key + chain)
            self._context.load_cert_chain(path)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.target = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _note_name(self, connection: ssl.SSLObject, name: str | None, _context: object) -> None:
        self._names[id(connection)] = name

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._context.wrap_socket(plain, server_side=True) as tls,
        ):
            certificate = tls.getpeercert(binary_form=True)
            self.handshakes.append(certificate)
            self._talk(tls, certificate)

    def _talk(self, tls: ssl.SSLSocket, certificate: bytes | None) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        tls.sendall(connection.data_to_send())
        while data := tls.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    headers = {str(name): str(value) for name, value in event.headers or ()}
                    name = self._names.get(id(tls))
                    encoding = headers.get("grpc-encoding")
                    self.calls.append(Seen(certificate, name, headers[":authority"], encoding))
                if isinstance(event, h2.events.StreamEnded):
                    stream = event.stream_id or 0
                    kind = ("content-type", "application/grpc")
                    connection.send_headers(stream, [(":status", "200"), kind])
                    connection.send_data(stream, b"\0\0\0\0\0")
                    connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)
            tls.sendall(connection.data_to_send())
