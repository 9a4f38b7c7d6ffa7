"""Addresses that are built and not parsed: the same rules hold for them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from serviceradar_security import ConfigError, WorkloadEndpoint


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"kind": "http", "path": "/p"}, id="R-EP-02 another kind"),
        pytest.param({"kind": "unix", "path": "\0name"}, id="R-EP-02 abstract"),
        pytest.param({"kind": "unix"}, id="R-EP-03 no path"),
        pytest.param({"kind": "unix", "path": "agent.sock"}, id="R-EP-03 relative"),
        pytest.param({"kind": "unix", "path": "//host/p"}, id="R-EP-03 two slashes"),
        pytest.param({"kind": "unix", "path": "/p", "port": 1}, id="R-EP-03 a port"),
        pytest.param({"kind": "unix", "path": "/"}, id="R-EP-04 root"),
        pytest.param({"kind": "tcp", "host": "localhost", "port": 1}, id="R-EP-05 name"),
        pytest.param({"kind": "tcp", "host": "127.1", "port": 1}, id="R-EP-05 short quad"),
        pytest.param({"kind": "tcp", "host": "[::1]", "port": 1}, id="R-EP-05 brackets"),
        pytest.param({"kind": "tcp", "host": "fe80::1%lo", "port": 1}, id="R-EP-05 zone"),
        pytest.param({"kind": "tcp", "port": 1}, id="R-EP-05 no host"),
        pytest.param({"kind": "tcp", "host": "127.0.0.1"}, id="R-EP-06 no port"),
        pytest.param({"kind": "tcp", "host": "127.0.0.1", "port": 65536}, id="R-EP-06 too high"),
        pytest.param({"kind": "tcp", "host": "127.0.0.1", "port": "80"}, id="R-EP-06 text"),
        pytest.param(
            {"kind": "tcp", "host": "127.0.0.1", "port": 80, "path": "/p"}, id="R-EP-06 path"
        ),
        pytest.param({"kind": "unix", "path": "/a\0b"}, id="R-EP-08 NUL"),
        pytest.param({"kind": "unix", "path": "/\udc80"}, id="R-EP-08 not UTF-8"),
        pytest.param({"kind": "unix", "path": None}, id="R-EP-09 no text"),
        pytest.param({"kind": "unix", "path": b"/p"}, id="R-EP-09 bytes"),
        pytest.param({"kind": "unix", "path": "/" + "a" * 107}, id="R-EP-10 108 bytes"),
    ],
)
def test_what_is_no_address(fields: dict[str, Any]) -> None:
    """A value that no text is parsed to cannot be built."""
    with pytest.raises(ConfigError, match="address") as caught:
        WorkloadEndpoint(**fields)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "unix:///run/agent.sock",
        "unix:/a%20b%25%C3%A9",
        "tcp://127.0.0.1:1",
        "tcp://[2001:DB8::1]:65535",
    ],
)
def test_an_address(text: str) -> None:
    """What a text is parsed to can be built from its parts, and pickled."""
    parsed = WorkloadEndpoint.parse(text)
    built = WorkloadEndpoint(parsed.kind, path=parsed.path, host=parsed.host, port=parsed.port)
    assert built == parsed == pickle.loads(pickle.dumps(parsed))  # noqa: S301 - made in this line
