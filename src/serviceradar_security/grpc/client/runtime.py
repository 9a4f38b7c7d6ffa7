"""The runtime: what all channels of a process share, made with the first of them.

Nothing is started at import. The application's environment is touched only while gRPC core reads
it. A forked child has no runtime: gRPC core does not survive a fork, so any use there is refused
at once instead of hanging (design decision D11).
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from typing import Final

import grpc

from serviceradar_security._grpc_core import has_core_threads
from serviceradar_security.errors import SecurityError
from serviceradar_security.grpc.client import handles
from serviceradar_security.grpc.client.bootstrap import PrivateFolder, exported, merge_bootstrap
from serviceradar_security.grpc.client.plane import Plane
from serviceradar_security.grpc.client.resources import XDS_AUTHORITY
from serviceradar_security.grpc.client.routes import PIN_AUTHORITY, listener_name
from serviceradar_security.grpc.nobody import nobody

__all__ = ["Runtime", "get_runtime"]

_LOG: Final = logging.getLogger("serviceradar_security.grpc")
_PIN_SECONDS: Final = 5
# Before 1.84 core waits two seconds at the end of a process in which anybody still holds it.
_WAITS_AT_EXIT: Final = tuple(map(int, grpc.__version__.split(".")[:2])) < (1, 84)
_FORKED: Final = (
    "gRPC core does not work in a process that was forked from one that used it. What this channel "
    "needs was created before fork: create it in the worker (gunicorn: in post_fork, without "
    "preloading) of a parent that does not use gRPC, or start workers with spawn or forkserver"
)


class Runtime:
    """The plane, the credentials that lead to it, and the folder of its socket."""

    def __init__(self) -> None:
        """Start all of it.

        Raises:
            ConfigError: The application's xDS bootstrap cannot be read.
            SecurityError: It cannot be started; the message says what to do.
        """
        # The fallback is what core would use for a cluster without TLS: it must lead nowhere.
        dead_end = grpc.ssl_channel_credentials(nobody().certificate)
        self.credentials: grpc.ChannelCredentials = grpc.xds_channel_credentials(dead_end)
        self.plane: Plane = Plane()
        self._folder: PrivateFolder | None = None
        self._pin: grpc.Channel | None = None
        try:
            self._folder = PrivateFolder(os.environ)
            document = merge_bootstrap(
                os.environ,
                self._folder.socket,
                self.plane.materials.providers(),
            )
            self.plane.call(self.plane.start(self._folder.socket))
            with exported(document, os.environ):
                self._pin = _make_pin(self.plane, self.credentials)
        except BaseException:
            self.end()
            self.plane.materials.close()
            raise

    def end(self) -> None:
        """End the plane and remove the folder of its socket; open channels go on without them."""
        pin, self._pin = self._pin, None
        if pin is not None:
            pin.close()
        self.plane.shut_down()
        self.remove_folder()

    def remove_folder(self) -> None:
        """Remove the folder of the socket; connections go on."""
        if self._folder is not None:
            self._folder.remove()
            self._folder = None


class _Process:
    """What this process knows about gRPC: the runtime, or why there can be none."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runtime: Runtime | None = None
        self.used_grpc = False
        self.obstacle = ""


_PROCESS: Final = _Process()


def get_runtime() -> Runtime:
    """Give the runtime of this process, and start it if there is none.

    Raises:
        ConfigError: The application's xDS bootstrap cannot be read.
        SecurityError: It cannot be started, or the process was forked from one that used gRPC.
    """
    if _PROCESS.obstacle:
        raise SecurityError(_PROCESS.obstacle)
    with _PROCESS.lock:
        if _PROCESS.runtime is None:
            _PROCESS.runtime = Runtime()
            atexit.register(_end_at_exit)
        return _PROCESS.runtime


def _end_at_exit() -> None:
    """Leave no folder behind, and let go of gRPC core where it would hold the exit up."""
    runtime = _PROCESS.runtime
    if runtime is None:
        return
    if _WAITS_AT_EXIT:
        _PROCESS.runtime = None
        _PROCESS.obstacle = "no gRPC channel can be made any more: the program is about to exit"
        runtime.end()
    else:
        # Channels go on: what runs after this may still use them.
        runtime.remove_folder()
        # grpc watches the pin in a daemon thread, which the end of the interpreter may stop while
        # it holds a lock of the pin; whoever takes the pin down then waits for that lock for ever.
        handles.keep_for_ever(runtime)


def _make_pin(plane: Plane, credentials: grpc.ChannelCredentials) -> grpc.Channel:
    """Hold core's copy of our bootstrap with a channel that is never idle and never called.

    Raises:
        SecurityError: Core did not turn to our control plane.
    """
    options = [
        ("grpc.client_idle_timeout_ms", 2**31 - 1),
        ("grpc.default_authority", PIN_AUTHORITY),
        ("grpc.enable_http_proxy", 0),
    ]
    pin = grpc.secure_channel(f"xds://{XDS_AUTHORITY}/{listener_name(0)}", credentials, options)
    states: list[grpc.ChannelConnectivity] = []
    pin.subscribe(states.append, try_to_connect=True)
    try:
        for _ in range(_PIN_SECONDS):
            if plane.call(plane.is_followed(timeout=1.0)):
                return pin
            if grpc.ChannelConnectivity.TRANSIENT_FAILURE in states:
                break  # core has another bootstrap, and will not read ours
    except BaseException:
        pin.close()
        raise
    finally:
        pin.unsubscribe(states.append)
    pin.close()
    raise SecurityError(
        "gRPC core did not take up the control plane of this library. Most likely an xDS channel "
        "of the application was open first, and gRPC core keeps that channel's bootstrap until it "
        "is closed: make the first channel of this library before the application's xDS channels, "
        "or close those first. After a fork of a process that used gRPC, make channels in a "
        "process that was spawned instead",
    )


def _look_before_fork() -> None:
    """Note whether gRPC core has threads now: the child cannot find out."""
    _PROCESS.used_grpc = _PROCESS.runtime is not None or has_core_threads()


def _forget_after_fork() -> None:
    """Leave the parent's objects alone in the child, for good."""
    _PROCESS.lock = threading.Lock()
    if not _PROCESS.used_grpc:
        return
    _PROCESS.obstacle = _FORKED
    if _PROCESS.runtime is not None:
        atexit.unregister(_end_at_exit)
        handles.keep_for_ever(_PROCESS.runtime)
    handles.disable_all(_FORKED)


os.register_at_fork(before=_look_before_fork, after_in_child=_forget_after_fork)
