"""A program that follows a key and forks; the child says what is left of it there."""

from __future__ import annotations

import os
import sys

import grpc

from serviceradar_security import ConfigWatch
from serviceradar_security.kv import KvError, KvOverlay


def say(*words: object) -> None:
    """Write a line at once: what is still in a buffer at a fork is written twice."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def child(overlay: KvOverlay) -> int:
    """Use what the parent left; gives the exit code."""
    say("state", overlay.status().state.value)
    for use in (overlay.start, overlay.wait_first):
        try:
            use()
        except KvError as error:
            say("refused", error)
    overlay.close()
    say("closed", repr(overlay))
    return 0


def main(target: str) -> int:
    """Follow, fork, and wait for the child."""
    with (
        grpc.insecure_channel(target) as channel,
        KvOverlay(channel, "config/a.json", ConfigWatch({"a": 1}, say)) as overlay,
    ):
        say("parent", overlay.wait_first(timeout=20).state.value)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = child(overlay)
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        say("after", overlay.status().state.value, os.waitstatus_to_exitcode(status))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
