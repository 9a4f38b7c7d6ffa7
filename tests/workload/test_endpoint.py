"""Workload API addresses: every rule of the endpoint standard, accepted and refused texts."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serviceradar_security import ConfigError, WorkloadEndpoint
from serviceradar_security.workload.endpoint import ENDPOINT_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = "/" + "a" * 106


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("unix:///run/agent.sock", "/run/agent.sock", id="R-EP-03 three slashes"),
        pytest.param("unix:/run/agent.sock", "/run/agent.sock", id="R-EP-03 one slash"),
        pytest.param("UNIX:///p", "/p", id="R-EP-02 upper-case scheme"),
        pytest.param("uNiX:/p", "/p", id="R-EP-02 mixed-case scheme"),
        pytest.param("unix:///a%20b", "/a b", id="R-EP-08 decoded once"),
        pytest.param("unix:///a%2520b", "/a%20b", id="R-EP-08 not decoded twice"),
        pytest.param("unix:///a%3Fb%23c", "/a?b#c", id="R-EP-08 decoded query marks"),
        pytest.param("unix:///%C3%A9", "/é", id="R-EP-08 UTF-8"),
        pytest.param("unix:///a//b", "/a//b", id="R-EP-03 empty segment inside"),
        pytest.param("unix:///a/../b", "/a/../b", id="R-EP-09 not normalised"),
        pytest.param("unix:///-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@", id="R-EP-02 every mark"),
        pytest.param(f"unix://{LONGEST}", LONGEST, id="R-EP-10 107 bytes"),
        pytest.param("unix://" + "/%61" * 40, "/a" * 40, id="R-EP-10 counted decoded"),
    ],
)
def test_unix_accepted(text: str, path: str) -> None:
    """A unix address gives its decoded path and nothing else."""
    assert WorkloadEndpoint.parse(text) == WorkloadEndpoint("unix", path=path)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        pytest.param("tcp://127.0.0.1:8081", "127.0.0.1", 8081, id="R-EP-05 dotted quad"),
        pytest.param("tcp://[::1]:8081", "::1", 8081, id="R-EP-05 IPv6"),
        pytest.param("tcp://[2001:DB8::1]:1", "2001:DB8::1", 1, id="R-EP-05 upper-case IPv6"),
        pytest.param("tcp://[::ffff:1.2.3.4]:1", "::ffff:1.2.3.4", 1, id="R-EP-05 mapped IPv4"),
        pytest.param("TCP://1.2.3.4:1", "1.2.3.4", 1, id="R-EP-02 upper-case scheme"),
        pytest.param("tcp://1.2.3.4:65535", "1.2.3.4", 65535, id="R-EP-06 highest port"),
        pytest.param("tcp://1.2.3.4:00080", "1.2.3.4", 80, id="R-EP-06 RFC 3986 port"),
    ],
)
def test_tcp_accepted(text: str, host: str, port: int) -> None:
    """A tcp address gives its host without brackets, and its port."""
    assert WorkloadEndpoint.parse(text) == WorkloadEndpoint("tcp", host=host, port=port)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "is not an address", id="R-EP-01 empty"),
        pytest.param("/run/agent.sock", "neither the scheme", id="R-EP-02 bare path"),
        pytest.param("run/agent.sock", "neither the scheme", id="R-EP-02 relative path"),
        pytest.param("http://127.0.0.1:80", "neither the scheme", id="R-EP-02 http"),
        pytest.param("dns:///host:80", "neither the scheme", id="R-EP-02 dns"),
        pytest.param("ipv4:127.0.0.1:80", "neither the scheme", id="R-EP-02 ipv4"),
        pytest.param("unix-abstract:name", "neither the scheme", id="R-EP-02 unix-abstract"),
        pytest.param("npipe:name", "neither the scheme", id="R-EP-02 npipe"),
        pytest.param("unix", "neither the scheme", id="R-EP-02 scheme alone"),
        pytest.param("tcp", "neither the scheme", id="R-EP-02 tcp alone"),
        pytest.param("xunix:///p", "neither the scheme", id="R-EP-02 longer scheme"),
        pytest.param("://p", "neither the scheme", id="R-EP-02 no scheme"),
        pytest.param('unix:///a"b', "does not allow in a path", id="R-EP-02 quote"),
        pytest.param("unix:///a[b]", "does not allow in a path", id="R-EP-02 brackets"),
        pytest.param("unix:///a\\b", "does not allow in a path", id="R-EP-02 backslash"),
        pytest.param("unix:///a{b}|^`<>", "does not allow in a path", id="R-EP-02 unwise"),
        pytest.param("unix:", "no absolute path", id="R-EP-03 nothing"),
        pytest.param("unix:p", "no absolute path", id="R-EP-03 relative"),
        pytest.param("unix:./p", "no absolute path", id="R-EP-03 dot"),
        pytest.param("unix:%2Fp", "no absolute path", id="R-EP-03 escaped slash first"),
        pytest.param("unix://", "has a host", id="R-EP-03 authority only"),
        pytest.param("unix://p", "has a host", id="R-EP-03 host"),
        pytest.param("unix://host/p", "has a host", id="R-EP-03 host and path"),
        pytest.param("unix://user@/p", "has a host", id="R-EP-07 userinfo"),
        pytest.param("unix:////p", "two slashes", id="R-EP-03 four slashes"),
        pytest.param("unix:/%2Fp", "two slashes", id="R-EP-03 two slashes once decoded"),
        pytest.param("unix:///", "root folder", id="R-EP-04 slash"),
        pytest.param("unix:/", "root folder", id="R-EP-04 short slash"),
        pytest.param("unix:/%2F", "two slashes", id="R-EP-04 slash in disguise"),
        pytest.param("tcp://localhost:80", "not an IP address", id="R-EP-05 localhost"),
        pytest.param("tcp://host.example:80", "not an IP address", id="R-EP-05 name"),
        pytest.param("tcp://127.0.0.1", "not an IP address", id="R-EP-05 no port"),
        pytest.param("tcp://127.0.0.1:", "not an IP address", id="R-EP-05 empty port"),
        pytest.param("tcp://:80", "not an IP address", id="R-EP-05 no host"),
        pytest.param("tcp://::1:80", "not an IP address", id="R-EP-05 no brackets"),
        pytest.param("tcp://[127.0.0.1]:80", "no IP address", id="R-EP-05 IPv4 in brackets"),
        pytest.param("tcp://[::1", "not an IP address", id="R-EP-05 open bracket"),
        pytest.param("tcp://[]:80", "not an IP address", id="R-EP-05 empty brackets"),
        pytest.param("tcp://[fe80::1%25lo]:80", "not an IP address", id="R-EP-05 zone"),
        pytest.param("tcp://127.1:80", "no IP address", id="R-EP-05 short quad"),
        pytest.param("tcp://2130706433:80", "no IP address", id="R-EP-05 number"),
        pytest.param("tcp://127.0.0.01:80", "no IP address", id="R-EP-05 octal"),
        pytest.param("tcp://256.0.0.1:80", "no IP address", id="R-EP-05 out of range"),
        pytest.param("tcp://0x7f.0.0.1:80", "not an IP address", id="R-EP-05 hexadecimal"),
        pytest.param("tcp://127.0.0.1:80/", "not an IP address", id="R-EP-06 slash"),
        pytest.param("tcp://127.0.0.1:80/p", "not an IP address", id="R-EP-06 path"),
        pytest.param("tcp:127.0.0.1:80", "not an IP address", id="R-EP-06 opaque"),
        pytest.param("tcp:/127.0.0.1:80", "not an IP address", id="R-EP-06 one slash"),
        pytest.param("tcp:///127.0.0.1:80", "not an IP address", id="R-EP-06 three slashes"),
        pytest.param("tcp://127.0.0.1:0", "has the port 0", id="R-EP-06 port 0"),
        pytest.param("tcp://127.0.0.1:65536", "has the port 65536", id="R-EP-06 port too high"),
        pytest.param("tcp://127.0.0.1:000080", "not an IP address", id="R-EP-06 six digits"),
        pytest.param("tcp://127.0.0.1:+80", "not an IP address", id="R-EP-09 plus"),
        pytest.param("tcp://127.0.0.1:-80", "not an IP address", id="R-EP-06 minus"),
        pytest.param("tcp://127.0.0.1:8_0", "not an IP address", id="R-EP-09 underscore"),
        pytest.param("tcp://127.0.0.1:0x50", "not an IP address", id="R-EP-06 hexadecimal port"),
        pytest.param("tcp://127.0.0.1:http", "not an IP address", id="R-EP-06 port name"),
        pytest.param("tcp://127.0.0.1:٨٠", "non-ASCII", id="R-EP-09 Arabic digits"),
        pytest.param("tcp://user@127.0.0.1:80", "not an IP address", id="R-EP-07 userinfo"),
        pytest.param("tcp://@127.0.0.1:80", "not an IP address", id="R-EP-07 empty userinfo"),
        pytest.param("tcp://127.0.0.1:80?q", "has a query", id="R-EP-07 tcp query"),
        pytest.param("tcp://127.0.0.1:80?", "has a query", id="R-EP-07 tcp empty query"),
        pytest.param("tcp://127.0.0.1:80#f", "has a fragment", id="R-EP-07 tcp fragment"),
        pytest.param("tcp://127.0.0.1:80#", "has a fragment", id="R-EP-07 tcp empty fragment"),
        pytest.param("unix:///p?q", "has a query", id="R-EP-07 unix query"),
        pytest.param("unix:///p?", "has a query", id="R-EP-07 unix empty query"),
        pytest.param("unix:///p#f", "has a fragment", id="R-EP-07 unix fragment"),
        pytest.param("unix:///p#", "has a fragment", id="R-EP-07 unix empty fragment"),
        pytest.param("unix:///a%00b", "has a NUL", id="R-EP-08 NUL"),
        pytest.param("unix:///a%", "malformed escape", id="R-EP-08 percent at the end"),
        pytest.param("unix:///a%2", "malformed escape", id="R-EP-08 one digit"),
        pytest.param("unix:///a%zz", "malformed escape", id="R-EP-08 no digits"),
        pytest.param("unix:///a%%32%35", "malformed escape", id="R-EP-08 escape within an escape"),
        pytest.param("unix:///%FF", "not UTF-8", id="R-EP-08 not UTF-8"),
        pytest.param("unix:///%ED%A0%80", "not UTF-8", id="R-EP-08 surrogate"),
        pytest.param(" unix:///p", "has a space", id="R-EP-09 leading space"),
        pytest.param("unix:///p ", "has a space", id="R-EP-09 trailing space"),
        pytest.param("unix:///a\nb", "has a space, a control", id="R-EP-09 newline"),
        pytest.param("unix:///p\n", "has a space, a control", id="R-EP-09 trailing newline"),
        pytest.param("unix:///a\tb", "has a space, a control", id="R-EP-09 tab"),
        pytest.param("unix:///a\rb", "has a space, a control", id="R-EP-09 carriage return"),
        pytest.param("unix:///a\0b", "has a space, a control", id="R-EP-09 raw NUL"),
        pytest.param("unix:///a\x7fb", "has a space, a control", id="R-EP-09 delete"),
        pytest.param("unix:///é", "non-ASCII", id="R-EP-09 non-ASCII"),
        pytest.param("unix:///\udc80", "non-ASCII", id="R-EP-09 lone surrogate"),
        pytest.param(f"unix://{LONGEST}a", "108 bytes", id="R-EP-10 108 bytes"),
        pytest.param("unix:///" + "%C3%A9" * 54, "109 bytes", id="R-EP-10 counted in bytes"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    """What is no address is refused with its reason, in one line that quotes it in ASCII."""
    with pytest.raises(ConfigError) as caught:
        WorkloadEndpoint.parse(text)
    message = str(caught.value)
    assert reason in message
    assert "write " in message
    assert message.isascii()
    assert message.isprintable()


@pytest.mark.parametrize("given", [None, 7, b"unix:///p", ["unix:///p"]])
def test_not_a_text(given: object) -> None:
    """What is no text is refused like any other wrong address."""
    with pytest.raises(ConfigError, match="is not an address"):
        WorkloadEndpoint.parse(given)  # type: ignore[arg-type] # the wrong type is the point


def test_long_text_is_quoted_short() -> None:
    """A refusal quotes the beginning of a text only."""
    with pytest.raises(ConfigError) as caught:
        WorkloadEndpoint.parse("x" * 100_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("environ", [{}, {ENDPOINT_VARIABLE: ""}, {"OTHER": "unix:///p"}])
def test_environment_without_address(environ: dict[str, str]) -> None:
    """Without the variable, or with an empty one, there is no address and no default (R-EP-01)."""
    with pytest.raises(ConfigError, match="set SPIFFE_ENDPOINT_SOCKET"):
        WorkloadEndpoint.from_environment(environ)


def test_environment_given() -> None:
    """The variable is read from the environment that is given (R-EP-01)."""
    environ = {ENDPOINT_VARIABLE: "unix:///p"}
    assert WorkloadEndpoint.from_environment(environ) == WorkloadEndpoint("unix", path="/p")


def test_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is read from the process's environment otherwise (R-EP-01)."""
    monkeypatch.setenv(ENDPOINT_VARIABLE, "tcp://127.0.0.1:8081")
    assert str(WorkloadEndpoint.from_environment()) == "tcp://127.0.0.1:8081"
    monkeypatch.delenv(ENDPOINT_VARIABLE)
    with pytest.raises(ConfigError, match=ENDPOINT_VARIABLE):
        WorkloadEndpoint.from_environment()


def test_environment_is_as_strict() -> None:
    """What the variable holds is checked like any address (R-EP-02)."""
    with pytest.raises(ConfigError, match="neither the scheme"):
        WorkloadEndpoint.from_environment({ENDPOINT_VARIABLE: "/run/agent.sock"})


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("unix:///run/agent.sock", "unix:/run/agent.sock"),
        ("unix:///a%20b", "unix:/a%20b"),
        ("unix:///a%2520b", "unix:/a%2520b"),
        ("unix:///%C3%A9", "unix:/%C3%A9"),
        ("tcp://127.0.0.1:80", "ipv4:127.0.0.1:80"),
        ("tcp://[::1]:80", "ipv6:[::1]:80"),
    ],
)
def test_grpc_target(text: str, target: str) -> None:
    """The target for gRPC resolves no name and is encoded again, since gRPC decodes (R-EP-13)."""
    assert WorkloadEndpoint.parse(text).grpc_target == target


def test_paths_are_usable(tmp_path: Path) -> None:
    """A path with a space, a percent sign and a letter outside ASCII is connected to (R-EP-15)."""
    folder = os.open(tmp_path, os.O_RDONLY)  # short, however long the temporary folder's path
    try:
        path = f"/proc/self/fd/{folder}/a %41é.sock"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            endpoint = WorkloadEndpoint.parse(str(WorkloadEndpoint("unix", path=path)))
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(endpoint.path)
    finally:
        os.close(folder)


@given(st.text(max_size=60) | st.text("untixcp:/.[]%?#@0123456789af ", max_size=40))
@example("unix:/%2F")
@example("unix:///%2e%2E/%41")
@example("tcp://[::]:1")
def test_any_text(text: str) -> None:
    """Any text is either refused as a configuration error, or written back as itself."""
    try:
        endpoint = WorkloadEndpoint.parse(text)
    except ConfigError:
        return
    assert WorkloadEndpoint.parse(str(endpoint)) == endpoint


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=25))
def test_unix_round_trip(rest: str) -> None:
    """Every path of a file system survives being written and read."""
    endpoint = WorkloadEndpoint("unix", path="/p" + rest)
    assert WorkloadEndpoint.parse(str(endpoint)) == endpoint


@given(st.ip_addresses(), st.integers(1, 65535))
def test_tcp_round_trip(address: object, port: int) -> None:
    """Every IP address and port survives being written and read."""
    endpoint = WorkloadEndpoint("tcp", host=str(address).partition("%")[0], port=port)
    assert WorkloadEndpoint.parse(str(endpoint)) == endpoint
