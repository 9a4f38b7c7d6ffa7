"""A Workload API in a process of its own, as an agent is, that writes when it is told.

It prints its endpoint, then for each line that it reads the moment at which it began to write the
next message. The clock is that of `time.perf_counter`, which all processes of a host share.
"""

from __future__ import annotations

import itertools
import sys
import time

from benchmarks.messages import message
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi


def main(federated: int, pushes: int) -> None:
    """Serve until the input ends."""
    authority = FakeAuthority("example.org")
    bundles = {
        f"spiffe://partner{number}.example": FakeAuthority("partner.example").bundle.der[0]
        for number in range(federated)
    }
    # Made beforehand: what is measured begins with the write.
    messages = [
        message(authority, authority.issue("spiffe://example.org/core"), bundles)
        for _ in range(pushes)
    ]
    with FakeWorkloadApi(["spiffe://example.org/core"], authority=authority) as api:
        print(api.endpoint, flush=True)
        for _, each in zip(sys.stdin, itertools.cycle(messages), strict=False):
            began = time.perf_counter()
            api.send(each)
            print(repr(began), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
