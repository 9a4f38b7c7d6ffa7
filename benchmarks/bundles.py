"""Messages with many federated bundles, against a bare reader of the same bytes.

The bare reader parses the message with protobuf and each bundle with cryptography, and checks
nothing. Ours has an SVID that it knows already, so that the rows are about bundles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from benchmarks.interleave import Row, compare
from benchmarks.messages import message
from serviceradar_security._proto.workload_pb2 import X509SVIDResponse
from serviceradar_security.testing import FakeAuthority
from serviceradar_security.workload.snapshot import SnapshotReader

if TYPE_CHECKING:
    from collections.abc import Iterator

COUNTS = (1, 100, 10_000)


def rows() -> Iterator[Row]:
    """Measure."""
    authority = FakeAuthority("example.org")
    svid = authority.issue("spiffe://example.org/core")
    # Two messages that have no bundle in common, read in turn, so that each is news.
    roots = [FakeAuthority("partner.example").bundle.der[0] for _ in range(2)]
    for count in COUNTS:
        messages = [
            message(
                authority,
                svid,
                {f"spiffe://partner{number}.example": root for number in range(count)},
            )
            for root in roots
        ]
        reader, watched, same = SnapshotReader(), SnapshotReader(), SnapshotReader()
        turn = 0

        def news(reader: SnapshotReader = reader, messages: list[bytes] = messages) -> None:
            nonlocal turn
            turn += 1
            reader.read(messages[turn % 2])

        def news_seen_through(
            reader: SnapshotReader = watched, messages: list[bytes] = messages
        ) -> None:
            nonlocal turn
            turn += 1
            _ = reader.read(messages[turn % 2]).warnings  # as the engine asks, after publishing

        def nothing_new(reader: SnapshotReader = same, messages: list[bytes] = messages) -> None:
            _ = reader.read(messages[0]).warnings

        def bare(messages: list[bytes] = messages) -> None:
            response = X509SVIDResponse.FromString(messages[0])
            x509.load_der_x509_certificate(response.svids[0].x509_svid)
            for data in response.federated_bundles.values():
                x509.load_der_x509_certificate(data)

        number = max(2, 20_000 // count)
        what = f"{count} federated {'bundle' if count == 1 else 'bundles'}"
        baseline = "protobuf and cryptography"
        yield compare(f"{what}, new, published", news, baseline, bare, number=number)
        yield compare(
            f"{what}, new, and warned of", news_seen_through, baseline, bare, number=number
        )
        yield compare(f"{what}, unchanged", nothing_new, baseline, bare, number=number)
