"""Host names: what is one, in which form, and what follows its first label."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.host import HostName


@pytest.mark.parametrize(
    ("text", "canonical", "is_address", "parent"),
    [
        ("core", "core", False, ""),
        ("Core.Mesh.TEST", "core.mesh.test", False, "mesh.test"),
        ("core.mesh.test.", "core.mesh.test", False, "mesh.test"),
        ("b\u00fccher.test", "xn--bcher-kva.test", False, "test"),
        ("_grpc._tcp.test", "_grpc._tcp.test", False, "_tcp.test"),
        ("3com.test", "3com.test", False, "test"),
        ("127.0.0.1", "127.0.0.1", True, ""),
        ("2001:DB8:0::1", "2001:db8::1", True, ""),
        ("::1", "::1", True, ""),
    ],
)
def test_good(text: str, canonical: str, is_address: bool, parent: str) -> None:
    """A name is in lower case, ASCII and without its final dot; an address in canonical form."""
    host = HostName.parse(text)
    assert (host.text, host.is_address, host.parent) == (canonical, is_address, parent)
    assert str(host) == canonical
    assert HostName.parse(canonical) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "core..test",
        ".core.test",
        "core.test..",
        "*.mesh.test",
        "c*.mesh.test",
        "core test",
        "core.test\n",
        "core.test\0",
        "core/test",
        "core.test:50052",
        "[::1]",
        "fe80::1%eth0",
        "1.2",
        "1.2.3.4.5",
        "127.0.0.01",
        "-core.test",
        "core-.test",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "\ud800.test",
        "spiffe://core.test/x",
        "CN=core.test",
        None,
        7,
        b"core.test",
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_bad(text: Any) -> None:
    """Anything else is refused by an error of ours that stays on one line."""
    with pytest.raises(ConfigError) as caught:
        HostName.parse(text)
    assert "\n" not in str(caught.value)
    assert "host name" in str(caught.value)


@given(st.text(max_size=80))
def test_every_text_is_read_or_refused(text: str) -> None:
    """Whatever the text, there is a canonical name or an error of ours."""
    try:
        host = HostName.parse(text)
    except ConfigError:
        return
    assert HostName.parse(host.text) == host
    assert host.text == host.text.lower()
    assert "*" not in host.text


@given(st.ip_addresses())
def test_every_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """An address is one, in whatever form it is written."""
    host = HostName.parse(address.exploded)
    assert host == HostName(str(ipaddress.ip_address(str(address))), is_address=True)
