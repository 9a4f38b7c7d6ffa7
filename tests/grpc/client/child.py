"""What programs need that a test starts in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from serviceradar_security.grpc.client import channel
from serviceradar_security.identity.authorizer import authorize_id
from serviceradar_security.identity.bundle import TrustBundle
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.spiffe_id import SpiffeId
from serviceradar_security.identity.svid import X509Svid

if TYPE_CHECKING:
    from tests.grpc.client.conftest import World

ROOT: Final = Path(__file__).parents[3]
EXPECTED: Final = authorize_id(SpiffeId.parse("spiffe://carverauto.test/ns/demo/sa/core"))


# grpcio before 1.80 has a fault of its own where two event loops of one process use grpc.aio: each
# wakes the other, and the one that comes late logs an exception. Calls are not affected.
IS_BEFORE_1_80: Final = tuple(map(int, grpc.__version__.split(".")[:2])) < (1, 80)


class Source:
    """A source with one identity, read from files that the test wrote."""

    def __init__(self, folder: str) -> None:
        svid = X509Svid.from_pem(
            Path(folder, "chain.pem").read_bytes(),
            Path(folder, "key.pem").read_bytes(),
        )
        bundle = TrustBundle.from_pem(
            svid.spiffe_id.trust_domain,
            Path(folder, "bundle.pem").read_bytes(),
        )
        self._context = X509Context(svids=[svid], bundles={bundle.trust_domain: bundle})

    def current(self) -> X509Context:
        return self._context


def call(made: grpc.Channel) -> str:
    """Make one call; give its answer or the name of its status code."""
    unary: Any = made.unary_unary("/t/unary")
    try:
        return f"answered {unary(b'child', timeout=10).decode()}"
    except grpc.RpcError as error:
        failed: Any = error
        return f"{failed.code().name} {failed.details()}"


def dial(target: str, folder: str) -> grpc.Channel:
    """Make a channel that expects the test's server."""
    return channel(target, Source(folder), EXPECTED)


def write_identity(world: World, folder: Path) -> None:
    """Give a program its identity."""
    svid = world.context().default
    chain, key = svid.to_pem()
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    (folder / "bundle.pem").write_bytes(world.ours.bundle.to_pem())


def unexpected(stderr: str) -> list[str]:
    """Give the lines that are not gRPC core's own remarks about forks and event loops."""
    if IS_BEFORE_1_80 and "PollerCompletionQueue" in stderr:
        return []
    remarks = ("fork_posix.cc", "before absl::InitializeLog()")
    return [line for line in stderr.splitlines() if not any(each in line for each in remarks)]


def run(
    program: str,
    *arguments: str,
    environment: dict[str, str] | None = None,
    timeout: float = 30,
) -> subprocess.CompletedProcess[str]:
    """Run a program with the names of this module, and give what it said."""
    source = "from tests.grpc.client.child import *\nimport os, sys, time, grpc\n"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_XDS")}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", source + textwrap.dedent(program), *arguments],
        env=kept | {"PYTHONPATH": path} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=ROOT,
    )
