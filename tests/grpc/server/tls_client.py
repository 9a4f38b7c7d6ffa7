"""A TLS client of the standard library: it looks at certificates, and resumes sessions."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
from cryptography import x509

from tests.grpc.server.service import DEADLINE, SERVICE

if TYPE_CHECKING:
    from pathlib import Path

    from serviceradar_security.identity.svid import X509Svid


def context_for(client: X509Svid, folder: Path, *, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Make a context that presents a client and looks at nothing itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    file = folder / "client.pem"
    file.write_bytes(b"".join(client.to_pem()))
    context.load_cert_chain(file)
    return context


def presented(port: int) -> x509.Certificate | None:
    """Give the certificate that a server presents to a stranger, or None if it hangs up before."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection(("127.0.0.1", port), DEADLINE) as plain,
            context.wrap_socket(plain) as secure,
        ):
            der = secure.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(der) if der else None


@dataclass
class Answer:
    """What one call over a connection of its own gave."""

    status: str
    session: ssl.SSLSession | None = None
    resumed: bool | None = None


def call_once(context: ssl.SSLContext, port: int, session: ssl.SSLSession | None = None) -> Answer:
    """Connect, offer to resume a session, and make one unary call; "" if the server hangs up."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), DEADLINE) as plain,
            context.wrap_socket(plain, session=session) as secure,
        ):
            status = _call(secure)
            return Answer(status, secure.session, secure.session_reused)
    except OSError:
        return Answer("")


def _call(secure: ssl.SSLSocket) -> str:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", f"/{SERVICE}/unary_unary"),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    connection.send_headers(1, headers)
    connection.send_data(1, b"\0\0\0\0\1x", end_stream=True)
    secure.sendall(connection.data_to_send())
    status = ""
    while data := secure.recv(65536):
        for event in connection.receive_data(data):
            match event:
                case (
                    h2.events.ResponseReceived(headers=got)
                    | h2.events.TrailersReceived(headers=got)
                ):
                    status = str({str(k): v for k, v in got}.get("grpc-status", status))
                case h2.events.StreamEnded():
                    return status
                case _:
                    pass
    return status
