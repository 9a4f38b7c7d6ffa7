"""What the thread does with a socket that never blocks: bytes out, bytes in, errors in words."""

from __future__ import annotations

import socket
from typing import Final

__all__ = ["describe", "keep_alive", "receive", "send"]

_CHUNK: Final = 256 * 1024


def keep_alive(sock: socket.socket) -> None:
    """Let the system find out that a peer's host has gone: its silence looks like a quiet agent."""
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    ):
        sock.setsockopt(level, option, value)


def send(sock: socket.socket, data: bytes) -> int:
    """Send what goes at once, and give how many bytes that are."""
    try:
        return sock.send(data, socket.MSG_NOSIGNAL) if data else 0
    except BlockingIOError:
        return 0
    except (BrokenPipeError, ConnectionResetError):
        return len(data)  # what the peer still said is read next, then the end


def receive(sock: socket.socket) -> bytes | None:
    """Give what is there: None for nothing, empty at the end."""
    try:
        return sock.recv(_CHUNK)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""  # it closed with bytes of ours unread: an end as any other


def describe(error: OSError) -> str:
    """Say in words why a connection failed."""
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, PermissionError):
        return "this user may not open the socket"
    return error.strerror or str(error)
