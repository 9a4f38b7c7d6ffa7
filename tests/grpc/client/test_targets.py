"""Targets: each form is served or refused as it should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.errors import ConfigError
from serviceradar_security.grpc.client.targets import Target, parse_target

SERVED = {
    "core:50052": Target("core:50052", host="core", port=50052),
    "dns:core:50052": Target("core:50052", host="core", port=50052),
    "dns:///core:50052": Target("core:50052", host="core", port=50052),
    "DNS:///core:50052": Target("core:50052", host="core", port=50052),
    "dns:50052": Target("dns:50052", host="dns", port=50052),
    "Core.Example.:1": Target("Core.Example.:1", host="Core.Example.", port=1),
    "my_service-1.ns.svc:65535": Target(
        "my_service-1.ns.svc:65535",
        host="my_service-1.ns.svc",
        port=65535,
    ),
    "münchen.example:1": Target("xn--mnchen-3ya.example:1", host="xn--mnchen-3ya.example", port=1),
    "10.1.2.3:50052": Target("10.1.2.3:50052", addresses=(("10.1.2.3", 50052),)),
    "[::1]:50052": Target("[::1]:50052", addresses=(("::1", 50052),)),
    "[0:0:0:0:0:0:0:1]:50052": Target("[::1]:50052", addresses=(("::1", 50052),)),
    "[fe80::1%eth0]:1": Target("[fe80::1]:1", addresses=(("fe80::1%eth0", 1),)),
    "ipv6:[fe80::1%25eth0]:1": Target("[fe80::1]:1", addresses=(("fe80::1%eth0", 1),)),
    "ipv4:10.0.0.1:1,10.0.0.2:2": Target(
        "10.0.0.1:1",
        addresses=(("10.0.0.1", 1), ("10.0.0.2", 2)),
    ),
    "ipv4:10.0.0.1:1,10.0.0.1:1": Target("10.0.0.1:1", addresses=(("10.0.0.1", 1),)),
    "ipv6:[::1]:1,[::2]:2": Target("[::1]:1", addresses=(("::1", 1), ("::2", 2))),
}
REFUSED = {
    "": "a target is text",
    "core": "the port is missing: write core:PORT",
    "dns:core": "the port is missing: write core:PORT",
    "dns:///core": "the port is missing",
    "dns://8.8.8.8/core:1": "a DNS server of one's own",
    "dns://core:1": "a DNS server of one's own",
    "core:": "the port '' is not a number",
    "core:0": "the port '0' is not a number from 1 to 65535",
    "core:65536": "from 1 to 65535",
    "core:99999999": "from 1 to 65535",
    "core:http": "the port 'http' is not a number",
    "core:-1": "is not a number",
    "core:\uff11": "is not a number",
    ":50052": "the host is missing",
    "::1:50052": "stands in brackets",
    "::1": "stands in brackets",
    "[::1]": "the port is missing",
    "[]:1": "no IPv6 address between the brackets",
    "[10.0.0.1]:1": "no IPv6 address between the brackets",
    "[core]:1": "no IPv6 address between the brackets",
    "ipv4:[::1]:1": "no IPv4 address",
    "ipv4:core:1": "no IPv4 address",
    "ipv6:10.0.0.1:1": "no IPv6 address",
    "ipv4:10.0.0.1:1,": "the port is missing",
    "ipv4:": "the port is missing",
    "unix:/run/core.sock": "no Unix sockets",
    "unix:///run/core.sock": "no Unix sockets",
    "unix-abstract:core": "no Unix sockets",
    "vsock:2:1": "no vsock",
    "xds:///core": "a control plane of their own",
    "fd:3:x": "a connected descriptor",
    "https://core:50052": "the scheme 'https' is not known",
    "spiffe://td/x": "the scheme 'spiffe' is not known",
    "core :1": "a space",
    "core\n:1": "cannot be printed",
    "a..b:1": "is no host name",
    "-a:1": "is no host name",
    "a*:1": "is no host name",
    f"{'a' * 64}:1": "is no host name",
    f"{'a.' * 127}com:1": "is no host name",
    f"{'ü' * 64}:1": "cannot be encoded for DNS",
    "user@core:1": "is no host name",
    "core/x:1": "is no host name",
}


@pytest.mark.parametrize("text", SERVED)
def test_a_target_is_read(text: str) -> None:
    """Each served form gives its name or addresses, and the authority that the server sees."""
    assert parse_target(text) == SERVED[text]


@pytest.mark.parametrize("text", REFUSED)
def test_a_target_is_refused_with_the_reason(text: str) -> None:
    """Each refusal names the target and what is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        parse_target(text)
    assert REFUSED[text] in str(caught.value)
    assert str(caught.value).startswith("the gRPC target ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 50052, b"core:1", ["core:1"]])
def test_a_target_is_text(value: object) -> None:
    """Other types are refused as targets, not as a type error from below."""
    with pytest.raises(ConfigError, match="a target is text"):
        parse_target(value)


@given(
    st.one_of(st.text(max_size=60), st.from_regex(r"(dns|ipv4|ipv6)?:?/{0,3}[\w.:%\[\],]{0,30}"))
)
def test_any_text_is_a_target_or_a_config_error(text: str) -> None:
    """Whatever is given, the result has an endpoint and a clean authority, or is refused."""
    try:
        target = parse_target(text)
    except ConfigError:
        return
    assert bool(target.host) != bool(target.addresses)
    assert target.authority.isascii()
    assert target.authority.isprintable()
    assert "*" not in target.authority


@pytest.mark.parametrize(
    ("text", "name"),
    [("core.example.:1", "core.example"), ("10.0.0.1:1", ""), ("[::1]:1", "")],
)
def test_only_names_are_sent_as_server_names(text: str, name: str) -> None:
    """SNI carries host names without the final dot, and never addresses."""
    assert parse_target(text).server_name == name
