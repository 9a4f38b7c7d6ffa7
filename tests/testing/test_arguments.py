"""Wrong arguments of the fake Workload API: an error of ours, at once, and nothing half done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security import ConfigError, X509Source
from serviceradar_security.identity.svid import X509Svid
from serviceradar_security.testing import FakeAuthority, FakeWorkloadApi
from tests.testing.client import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

ID = "spiffe://example.org/web"
LONE = "\ud800"  # half of a character: no UTF-8 is it
AUTHORITY = FakeAuthority("example.org")


@pytest.mark.parametrize(
    "options",
    [
        {"identities": ID},
        {"identities": ID.encode()},
        {"authority": "example.org"},
        {"ttl": "x"},
        {"ttl": -1},
        {"ttl": float("inf")},
        {"ttl": 1e12},
        {"timeout": "x"},
        {"timeout": -1},
        {"timeout": float("nan")},
    ],
    ids=str,
)
def test_what_it_is_not_made_of(options: dict[str, Any]) -> None:
    """It is made of a list of identities, an authority, and numbers of seconds."""
    with pytest.raises(ConfigError):
        FakeWorkloadApi(**{"identities": [ID], **options})


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("fail", ["NO_SUCH_CODE"]),
        ("fail", ["UNAVAILABLE", 5]),
        ("send", ["text"]),
        ("send", [None]),
        ("drip", {"size": 1.5}),
        ("drip", {"size": 0}),
        ("drip", {"size": "x"}),
        ("drip", {"pause": "x"}),
        ("drip", {"pause": float("inf")}),
    ],
)
def test_a_command_that_cannot_be(command: str, arguments: Any) -> None:
    """What cannot be commanded changes nothing: the next caller is served."""
    with FakeWorkloadApi([ID]) as api:
        given, named = (arguments, {}) if isinstance(arguments, list) else ([], arguments)
        with pytest.raises(ConfigError):
            getattr(api, command)(*given, **named)
        with X509Source(api.endpoint) as source:
            assert source.wait_ready(timeout=10).default.spiffe_id.path == "/web"


def _foreign() -> X509Svid:
    """Make an SVID with a hint that no message can hold."""
    made = AUTHORITY.issue_certificate(ID)
    return X509Svid.parse(b"".join(made.chain_der), made.key_der, hint=LONE)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FakeWorkloadApi([(ID, LONE)]),
        lambda: FakeWorkloadApi([_foreign()]),
        lambda: FakeWorkloadApi([ID], socket_path=LONE),
        lambda: AUTHORITY.issue(ID, hint=LONE),
        lambda: AUTHORITY.issue_certificate(LONE, uris=()),
        lambda: AUTHORITY.issue_certificate(ID, roles=[LONE]),
    ],
    ids=["hint", "svid", "path", "issued hint", "issued id", "role"],
)
def test_a_text_that_is_none(make: Callable[[], object]) -> None:
    """A text that UTF-8 cannot write is refused where it is given."""
    with pytest.raises(ConfigError, match=r"UTF-8|a path|a SPIFFE ID"):
        make()


@pytest.mark.parametrize("streams", [0, 1])
@pytest.mark.parametrize(
    "command",
    [
        lambda api: api.set_identities([(ID, LONE)]),
        lambda api: api.set_identities([ID, _foreign()]),
        lambda api: api.fail("UNAVAILABLE", LONE),
        lambda api: api.rotate(common_name=LONE),
    ],
    ids=["hint", "svid", "status", "name"],
)
def test_a_command_with_a_text_that_is_none(
    command: Callable[[FakeWorkloadApi], object],
    streams: int,
    api: FakeWorkloadApi,
    channel: grpc.Channel,
) -> None:
    """It changes nothing: open streams and new calls are served as before."""
    open_ones = [Watch(channel) for _ in range(streams)]
    before = [each.raw() for each in open_ones]

    with pytest.raises(ConfigError, match="UTF-8"):
        command(api)

    assert all(each.silent for each in open_ones)
    api.publish()
    assert [each.raw() for each in open_ones] == before
    assert [each.hint for each in Watch(channel).next().svids] == [""]
