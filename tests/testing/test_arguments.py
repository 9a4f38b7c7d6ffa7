"""Wrong arguments of the fake Workload API: an error of ours, at once, and nothing half done."""

from __future__ import annotations

from typing import Any

import pytest

from serviceradar_security import ConfigError, X509Source
from serviceradar_security.testing import FakeWorkloadApi

ID = "spiffe://example.org/web"


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
