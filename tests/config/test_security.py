"""The security block: what it means, and every way in which it cannot be used."""

from __future__ import annotations

import dataclasses
import logging
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.config.kinds import KINDS
from serviceradar_security.config.security import (
    DEFAULT_WORKLOAD_SOCKET,
    SecurityConfig,
    TlsFiles,
)
from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.spiffe_id import SpiffeId, TrustDomain
from tests.config.documents import patient

CANARY = "canary-do-not-show"
MEMBERS = ("mode", "role", "cert_dir", "server_name", "trust_domain", "server_spiffe_id")
FILES = ("cert_file", "key_file", "ca_file", "client_ca_file")
PEM = {"cert_file": "a.pem", "key_file": "a-key.pem", "ca_file": "roots.pem"}


def read(**members: Any) -> SecurityConfig:
    """Read a block in mode `spiffe` with these members."""
    return SecurityConfig.from_mapping({"mode": "spiffe", **members})


def problems(block: Any, path: str = "security") -> list[tuple[str, str]]:
    """Read a block that cannot be used, and give its problems."""
    with pytest.raises(ConfigError) as caught:
        SecurityConfig.from_mapping(block, path=path)
    assert str(caught.value).isprintable()
    return [(problem.path, problem.text) for problem in caught.value.problems]


def places(block: Any) -> list[str]:
    """Read a block that cannot be used, and give the places of its problems."""
    return [path for path, _ in problems(block)]


def test_whole_block() -> None:
    """Every member has its place in the value."""
    block = {
        "mode": "mtls",
        "role": "agent",
        "cert_dir": "/pki",
        "server_name": "hub.meadow.example",
        "trust_domain": "meadow.example",
        "server_spiffe_id": "spiffe://orchard.example/services/hub",
        "workload_socket": "tcp:127.0.0.1:8081",
        "tls": {**PEM, "client_ca_file": "/etc/clients.pem"},
    }
    expected = SecurityConfig(
        mode="mtls",
        role="agent",
        cert_dir="/pki",
        server_name="hub.meadow.example",
        tls=TlsFiles(
            cert_file="/pki/a.pem",
            key_file="/pki/a-key.pem",
            ca_file="/pki/roots.pem",
            client_ca_file="/etc/clients.pem",
        ),
        trust_domain=TrustDomain.parse("meadow.example"),
        server_spiffe_id=SpiffeId.parse("spiffe://orchard.example/services/hub"),
        workload_socket="tcp:127.0.0.1:8081",
    )
    assert expected == SecurityConfig.from_mapping(block)
    assert expected == SecurityConfig.from_mapping(MappingProxyType(block))


@pytest.mark.parametrize("mode", ["spiffe", "none"])
def test_smallest_block(mode: Any) -> None:
    """All but the mode may be missing; which side needs what is not the block's to say."""
    expected = SecurityConfig(
        mode=mode,
        role="",
        cert_dir="",
        server_name="",
        tls=TlsFiles(cert_file="", key_file="", ca_file="", client_ca_file=""),
        trust_domain=None,
        server_spiffe_id=None,
        workload_socket="unix:/run/spire/sockets/agent.sock",
    )
    assert expected == SecurityConfig.from_mapping({"mode": mode})


def test_value_does_not_change() -> None:
    """The value is frozen."""
    config = read()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.mode = "none"  # type: ignore[misc]  # the point of the test
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.tls.ca_file = "x"  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("none", "none"),
        ("NONE", "none"),
        ("mtls", "mtls"),
        ("mTLS", "mtls"),
        ("spiffe", "spiffe"),
        ("SpIfFe", "spiffe"),
    ],
)
def test_modes(text: str, mode: str) -> None:
    """The mode is read in any case."""
    assert mode == SecurityConfig.from_mapping({"mode": text, "tls": PEM}).mode


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({}, "missing, and nothing is secured by default"),
        ({"mode": ""}, "missing, and nothing is secured by default"),
        ({"mode": " spiffe"}, "unknown security mode ' spiffe'"),
        ({"mode": "spiffe "}, "unknown security mode 'spiffe '"),
        ({"mode": "tls"}, "unknown security mode 'tls'"),
        ({"mode": "\u017fpiffe"}, "unknown security mode '\\u017fpiffe'"),
        ({"mode": "{{MODE}}"}, "unresolved placeholder"),
        ({"mode": None}, "is null, but must be a text"),
        ({"mode": 1}, "is a number, but must be a text"),
        ({"mode": ["spiffe"]}, "is a list, but must be a text"),
        ({"mode": {"x": 1}}, "is an object, but must be a text"),
        ({"mode": True}, "is a boolean, but must be a text"),
    ],
)
def test_no_mode(block: dict[str, object], words: str) -> None:
    """A mode is never guessed: missing, empty or unknown is an error."""
    ((path, text),) = problems(block)
    assert path == "security.mode"
    assert words in text


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (None, "is null"),
        ([], "is a list"),
        ("spiffe", "is a text"),
        (1, "is a number"),
        (b"x", "is of type bytes"),
    ],
)
def test_no_object(block: Any, words: str) -> None:
    """Something else than an object is no block."""
    ((path, text),) = problems(block, path="nats.security")
    assert path == "nats.security"
    assert words in text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("meadow.example", "meadow.example"),
        ("  meadow.example\n", "meadow.example"),
        ("spiffe://meadow.example", "meadow.example"),
        ("spiffe://meadow.example/ns/field/sa/hub", "meadow.example"),
    ],
)
def test_trust_domain(text: str, name: str) -> None:
    """A trust domain is trimmed, and of a whole SPIFFE ID only its trust domain counts."""
    block = {"mode": "spiffe", "trust_domain": text.replace("\n", " ")}
    assert TrustDomain.parse(name) == SecurityConfig.from_mapping(block).trust_domain


@pytest.mark.parametrize("text", ["", "  "])
def test_no_trust_domain(text: str) -> None:
    """An empty trust domain is none."""
    assert read(trust_domain=text).trust_domain is None


@pytest.mark.parametrize(
    "text",
    [
        "Meadow.example",
        "SPIFFE://meadow.example",
        "https://meadow.example",
        "meadow.example/ns",
        "meadow.example:8080",
        "spiffe://meadow.example//x",
        "spiffe://",
        "meadow example",
    ],
)
def test_bad_trust_domain(text: str) -> None:
    """A text that is no trust domain is a problem, and no server ID is completed by it."""
    ((path, words),) = problems(
        {"mode": "spiffe", "trust_domain": text, "server_spiffe_id": "/services/hub"},
    )
    assert path == "security.trust_domain"
    assert words.startswith("invalid trust domain: ")


@pytest.mark.parametrize(
    ("text", "spiffe_id"),
    [
        ("spiffe://meadow.example/services/hub", "spiffe://meadow.example/services/hub"),
        ("  spiffe://meadow.example/services/hub ", "spiffe://meadow.example/services/hub"),
        ("SPIFFE://meadow.example/services/hub", "spiffe://meadow.example/services/hub"),
        ("spiffe://orchard.example/x", "spiffe://orchard.example/x"),
        ("/services/hub", "spiffe://meadow.example/services/hub"),
        ("services/hub", "spiffe://meadow.example/services/hub"),
        ("hub", "spiffe://meadow.example/hub"),
        ("ns/field.one/sa/hub", "spiffe://meadow.example/ns/field.one/sa/hub"),
        ("/v1.2/hub", "spiffe://meadow.example/v1.2/hub"),
        ("/other.example/hub", "spiffe://meadow.example/other.example/hub"),
        ("/Services/HUB", "spiffe://meadow.example/Services/HUB"),
    ],
)
def test_server_spiffe_id(text: str, spiffe_id: str) -> None:
    """A server ID is whole, or a path that the trust domain completes."""
    config = read(trust_domain="spiffe://meadow.example/ns/field", server_spiffe_id=text)
    assert SpiffeId.parse(spiffe_id) == config.server_spiffe_id


@pytest.mark.parametrize("text", ["", " "])
def test_no_server_spiffe_id(text: str) -> None:
    """An empty server ID is none."""
    assert read(server_spiffe_id=text).server_spiffe_id is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("meadow.example/ns/field/sa/hub", "has no scheme"),
        ("/meadow.example/ns/field/sa/hub", "has no scheme"),
        ("Meadow.Example/ns/field/sa/hub", "has no scheme"),
        ("meadow.example", "has no scheme"),
        ("orchard.example/services/hub", "has no scheme"),
        ("spiffe:/meadow.example/x", "is invalid"),
        ("spiffe.example", "has no scheme"),
        ("https://meadow.example/x", "is invalid"),
        ("x://y", "is invalid"),
        ("spiffe://Meadow.example/x", "is invalid"),
        ("spiffe://meadow.example/x/", "is invalid"),
        ("spiffe://meadow.example//x", "is invalid"),
        ("spiffe://meadow.example/x?y", "is invalid"),
        ("/", "is invalid"),
        ("//services/hub", "is invalid"),
        ("services/hub/", "is invalid"),
        ("services/../hub", "is invalid"),
        ("services/h\u00fcb", "is invalid"),
        ("services/a hub", "is invalid"),
    ],
)
def test_bad_server_spiffe_id(text: str, words: str) -> None:
    """A forgotten scheme is named as such, and the rest is held to the grammar."""
    ((path, found),) = problems(
        {"mode": "spiffe", "trust_domain": "meadow.example", "server_spiffe_id": text},
    )
    assert path == "security.server_spiffe_id"
    assert words in found


def test_forgotten_scheme_of_a_plain_trust_domain() -> None:
    """A first segment that equals the trust domain is a forgotten scheme, dots or not."""
    block = {"mode": "spiffe", "trust_domain": "meadow", "server_spiffe_id": "meadow/hub"}
    assert "has no scheme" in problems(block)[0][1]


def test_path_without_trust_domain() -> None:
    """A path has no meaning without a trust domain."""
    ((path, text),) = problems({"mode": "spiffe", "server_spiffe_id": "/services/hub"})
    assert path == "security.server_spiffe_id"
    assert "missing a scheme and no trust_domain is configured" in text


def test_whole_id_beside_a_bad_trust_domain() -> None:
    """A whole server ID is checked even where the trust domain is wrong."""
    block = {"mode": "spiffe", "trust_domain": "A", "server_spiffe_id": "spiffe://B/x"}
    assert places(block) == ["security.trust_domain", "security.server_spiffe_id"]


@pytest.mark.parametrize(
    "socket",
    [
        "unix:/run/x.sock",
        "unix:///run/x.sock",
        "UNIX:///run/x.sock",
        "tcp:127.0.0.1:80",
        "tcp://[::1]:80",
    ],
)
def test_workload_socket(socket: str) -> None:
    """An address with a known scheme is kept as it is."""
    assert socket == read(workload_socket=socket).workload_socket


@pytest.mark.parametrize("block", [{}, {"workload_socket": ""}])
def test_default_workload_socket(block: dict[str, object]) -> None:
    """Without an address, SPIRE's usual one is meant."""
    assert read(**block).workload_socket == DEFAULT_WORKLOAD_SOCKET


@pytest.mark.parametrize(
    "socket",
    [
        "/run/x.sock",
        "http://x",
        "unix:",
        "unix",
        " unix:/x",
        "unix:/x ",
        "unix:/a b",
        "x:unix:/y",
        "un\u0131x:/y",
        "UN\u0130X:/y",
        "unix:/a\ufeff",
    ],
)
def test_bad_workload_socket(socket: str) -> None:
    """An address without a known scheme, or with white space, is a problem."""
    assert places({"mode": "spiffe", "workload_socket": socket}) == ["security.workload_socket"]


@pytest.mark.parametrize(
    ("cert_dir", "path", "joined"),
    [
        ("/pki", "a.pem", "/pki/a.pem"),
        ("/pki/", "a.pem", "/pki/a.pem"),
        ("/pki", "sub/a.pem", "/pki/sub/a.pem"),
        ("/pki", "./a.pem", "/pki/a.pem"),
        ("/pki", "../a.pem", "/a.pem"),
        ("/pki", "/etc/a.pem", "/etc/a.pem"),
        ("/pki", "/etc/../a.pem", "/etc/../a.pem"),
        ("/pki", "/pki/a.pem", "/pki/a.pem"),
        ("pki", "a.pem", "pki/a.pem"),
        ("pki", "pki/a.pem", "pki/pki/a.pem"),
        ("", "a.pem", "a.pem"),
        ("/pki", "", ""),
        (".", "a.pem", "a.pem"),
        ("../pki", "a.pem", "../pki/a.pem"),
        ("/pki", "C:\\pki\\a.pem", "C:\\pki\\a.pem"),
        ("/pki", "C:/pki/a.pem", "C:/pki/a.pem"),
        ("/pki", "\\\\host\\pki\\a.pem", "\\\\host\\pki\\a.pem"),
        ("C:\\pki", "a.pem", "C:\\pki\\a.pem"),
        ("C:/pki/", "sub/a.pem", "C:\\pki\\sub\\a.pem"),
        ("C:\\pki", "D:\\a.pem", "D:\\a.pem"),
        ("C:\\pki", "/etc/a.pem", "/etc/a.pem"),
        ("c", "a.pem", "c/a.pem"),
    ],
)
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_join(cert_dir: str, path: str, joined: str, flat: bool, name: str) -> None:
    """A relative path is joined to the directory exactly once, in the nested and flat form."""
    files = {name: path}
    config = read(cert_dir=cert_dir, **files if flat else {"tls": files})
    assert joined == getattr(config.tls, name)


@pytest.mark.parametrize(
    ("given_client_ca", "expected"),
    [({}, "/pki/roots.pem"), ({"client_ca_file": "c.pem"}, "/pki/c.pem")],
)
def test_client_ca(given_client_ca: dict[str, str], expected: str) -> None:
    """Clients are verified against the authorities of servers if no others are given."""
    config = read(cert_dir="/pki", tls={"ca_file": "roots.pem", **given_client_ca})
    assert expected == config.tls.client_ca_file


@pytest.mark.parametrize("missing", [{"cert_file"}, {"key_file"}, {"ca_file"}, set(PEM)])
@pytest.mark.parametrize("form", ["nested", "flat", "empty"])
def test_mtls_needs_files(missing: set[str], form: str) -> None:
    """Mode `mtls` needs certificate, key and authorities, and names each that is missing."""
    files = {name: path for name, path in PEM.items() if name not in missing}
    if form == "empty":
        files |= dict.fromkeys(missing, "")
    block = {"mode": "mtls", **(files if form == "flat" else {"tls": files})}
    expected = [f"security.tls.{name}" for name in PEM if name in missing]
    assert expected == places(block)


@pytest.mark.parametrize("nested", [{}, {"enabled": True}, {"cert_file": "/nested.pem"}])
def test_flat_files_beside_nested_ones_do_not_count(nested: dict[str, object]) -> None:
    """A file that is missing in `tls` and given beside it is missing, and the error says why."""
    found = problems({"mode": "mtls", **PEM, "tls": nested})
    missing = [name for name in PEM if name not in nested]
    assert [f"security.tls.{name}" for name in missing] == [path for path, _ in found]
    for name, (_, text) in zip(missing, found, strict=True):
        assert f"{name} beside it does not count where there is a tls" in text


def test_nested_files_win() -> None:
    """Where both forms are given, the nested one counts whole."""
    config = read(cert_file="/flat.pem", key_file="/flat-key.pem", tls={"cert_file": "/nested.pem"})
    assert config.tls == TlsFiles(cert_file="/nested.pem")


@pytest.mark.parametrize(
    "placeholder",
    [
        "$(FIELD_NAMESPACE)",
        "${FIELD_ADDRESS}",
        f"${{FIELD_ADDRESS:-{CANARY}}}",
        "{{CERT_DIR}}",
        "{{ .Values.dir }}",
        "PLACEHOLDER_TRUST_DOMAIN",
        "$(unfinished",
        "{{",
    ],
)
@pytest.mark.parametrize("member", [*MEMBERS, "workload_socket"])
def test_placeholder(member: str, placeholder: str) -> None:
    """An unresolved placeholder is named as such, once, wherever it stands."""
    block = {"mode": "spiffe", "trust_domain": "meadow.example", member: f"a/{placeholder}/b"}
    ((path, text),) = problems(block)
    assert path == f"security.{member}"
    assert "unresolved placeholder" in text
    assert CANARY not in text


@pytest.mark.parametrize("name", FILES)
def test_placeholder_in_a_file_name(name: str) -> None:
    """A placeholder in a path of mode `mtls` is one problem, not also a missing file."""
    files = {**PEM, name: "{{FILE}}"}
    assert places({"mode": "mtls", "tls": files}) == [f"security.tls.{name}"]
    assert places({"mode": "mtls", **files}) == [f"security.{name}"]


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "\x7f", "\x85", "\x9f"])
def test_control_character(text: str) -> None:
    """A control character in a text is a problem."""
    assert places({"mode": "none", "cert_dir": text}) == ["security.cert_dir"]


@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, ["x"]])
@pytest.mark.parametrize("member", [*MEMBERS, "workload_socket", *FILES])
def test_wrong_type(member: str, value: object) -> None:
    """A member of a wrong type is one problem that names the kind, and none follows from it."""
    ((path, text),) = (
        problems({"mode": "spiffe", "server_spiffe_id": "/x", member: value})
        if (member == "trust_domain")
        else problems({"mode": "spiffe", member: value})
    )
    assert path == f"security.{member}"
    assert "but must be a text" in text


@pytest.mark.parametrize("value", [None, 1, "x", []])
def test_wrong_type_of_tls(value: object) -> None:
    """`tls` of a wrong type is one problem, not four."""
    ((path, text),) = problems({"mode": "mtls", "tls": value})
    assert path == "security.tls"
    assert "but must be an object" in text


@pytest.mark.parametrize("name", FILES)
def test_wrong_type_in_tls(name: str) -> None:
    """A file of a wrong type is one problem, and not also missing."""
    assert places({"mode": "mtls", "tls": {**PEM, name: 7}}) == [f"security.tls.{name}"]


def test_every_problem_at_once() -> None:
    """One error lists all that is wrong with a block."""
    block = {
        "mode": "tls",
        "Role": "core",
        "cert_dir": 7,
        "trust_domain": "Meadow",
        "server_spiffe_id": "spiffe://x/{{Y}}",
        "workload_socket": "/run/x",
        "tls": {"cert_file": None, "KEY_FILE": "x"},
    }
    assert set(places(block)) == {
        "security.mode",
        "security.Role",
        "security.cert_dir",
        "security.trust_domain",
        "security.server_spiffe_id",
        "security.workload_socket",
        "security.tls.cert_file",
        "security.tls.KEY_FILE",
    }


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"mode": "spiffe", "Mode": "none"}, "security.Mode"),
        ({"mode": "spiffe", "cert_dir": "", "Cert_Dir": ""}, "security.Cert_Dir"),
        ({"mode": "spiffe", "tru\u017ft_domain": "x"}, "security.tru\u017ft_domain"),
        ({"mode": "spiffe", "TLS": {}}, "security.TLS"),
        ({"mode": "spiffe", "tls": {"\u212aey_file": "x"}}, "security.tls.\u212aey_file"),
    ],
)
def test_member_that_only_go_reads(block: dict[str, object], place: str) -> None:
    """A name that Go's decoder folds to a member is refused: two readers would disagree."""
    assert places(block) == [place]


@pytest.mark.parametrize(
    "block",
    [
        {"mode": CANARY.encode()},
        {"mode": {"password": CANARY}},
        {"mode": "none", "tls": CANARY},
        {"mode": "none", "tls": [CANARY]},
        {"mode": "none", "role": {CANARY: CANARY}},
        {"mode": "none", "trust_domain": [CANARY]},
        {"mode": "none", 7: CANARY},
        {"mode": "none", "cert_dir": f"{CANARY}{{{{X}}}}"},
        {"mode": "none", "workload_socket": CANARY},
    ],
)
def test_no_value_is_shown(block: Any) -> None:
    """An error shows no value but modes and identity names, not even as its cause."""
    with pytest.raises(ConfigError) as caught:
        SecurityConfig.from_mapping(block)
    error = caught.value
    assert CANARY not in f"{error} {error!r} {error.problems}"
    assert error.__cause__ is None
    assert error.__context__ is None


def test_cyclic_block() -> None:
    """A block that holds itself is a problem, not a recursion."""
    block: dict[str, Any] = {"mode": "none"}
    block["extra"] = block
    assert "nested deeper" in problems(block)[0][1]


def test_unknown_members_warn_once(caplog: pytest.LogCaptureFixture) -> None:
    """Members that nobody reads are listed in one record, without their values."""
    caplog.set_level(logging.DEBUG)
    block = {
        "mode": "spiffe",
        "tls_enabled": CANARY,
        "tls": {"skip_verify": CANARY, "ca_file": "/x"},
        "key_file": CANARY,
        "a.b": CANARY,
    }
    SecurityConfig.from_mapping(block, path="nats.security")
    (record,) = caplog.records
    assert record.name == "serviceradar_security.config"
    assert record.levelno == logging.WARNING
    assert vars(record)["event"] == "security_members_ignored"
    assert vars(record)["paths"] == (
        "nats.security.tls_enabled",
        'nats.security."a.b"',
        "nats.security.tls.skip_verify",
        "nats.security.key_file",
    )
    assert "nats.security.tls_enabled" in record.getMessage()
    assert CANARY not in f"{record.getMessage()} {vars(record)}"


def test_many_unknown_members(caplog: pytest.LogCaptureFixture) -> None:
    """The record stays short however many there are."""
    read(**{f"x{number}": number for number in range(500)})
    (record,) = caplog.records
    assert record.getMessage().startswith("500 unknown members")
    assert len(record.getMessage()) < 1000


@pytest.mark.parametrize(
    "role",
    ["", "gateway", "poller", "agent", "core", "kv", "datasvc", "checker", "sync"],
)
@pytest.mark.parametrize("mode", ["mtls", "spiffe", "none"])
def test_known_roles(role: str, mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """A role of the platform, old names included, is kept as given without a word."""
    block = {"mode": mode, "role": role, "tls": PEM}
    assert role == SecurityConfig.from_mapping(block).role
    assert not caplog.records


@pytest.mark.parametrize(("mode", "warnings"), [("mtls", 1), ("spiffe", 0), ("none", 0)])
@pytest.mark.parametrize("role", ["zen", "client", "Core", "a b"])
def test_unknown_role(
    role: str,
    mode: str,
    warnings: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A role that the platform does not know warns in mode `mtls` only, and is kept."""
    block = {"mode": mode, "role": role, "tls": PEM}
    assert role == SecurityConfig.from_mapping(block).role
    assert [vars(record)["event"] for record in caplog.records] == (
        ["security_role_unknown"] * warnings
    )


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.binary(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
texts = st.sampled_from(
    ["", " ", "spiffe", "mtls", "NONE", "meadow.example", "spiffe://a/b", "/x", "x/y", "{{X}}"],
)


@patient
@given(
    st.sampled_from(sorted(KINDS)),
    st.dictionaries(
        st.sampled_from([*MEMBERS, *FILES, "workload_socket", "tls", "Mode", "other", ""]),
        texts | json_like | st.dictionaries(st.sampled_from([*FILES, "x"]), texts | json_like),
    ),
)
def test_any_block(kind: str, block: dict[str, object]) -> None:
    """Any mapping gives a usable value or our error; what is usable has a mode, and is stable."""
    try:
        config = SecurityConfig.from_mapping(block, kind=kind)
    except ConfigError:
        return
    written = block.get("mode", KINDS[kind].without_mode)
    assert config.mode == str(written).lower()
    assert config.workload_socket
    assert config == SecurityConfig.from_mapping(config.to_mapping())
    if config.mode == "mtls":
        assert config.tls.cert_file
        assert config.tls.key_file
        assert config.tls.ca_file


@pytest.mark.parametrize(("mode", "warnings"), [("mtls", 1), ("spiffe", 0), ("none", 0)])
@pytest.mark.parametrize("cert_dir", ["pki", "./pki", "..", "."])
def test_relative_directory(
    cert_dir: str,
    mode: str,
    warnings: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A relative directory, which hangs on the working directory, warns where files are read."""
    SecurityConfig.from_mapping({"mode": mode, "cert_dir": cert_dir, "tls": PEM})
    events = [vars(record)["event"] for record in caplog.records]
    assert events == ["security_directory_relative"] * warnings


@pytest.mark.parametrize("cert_dir", ["", "/pki", "C:\\pki", "\\\\host\\pki"])
def test_absolute_directory(cert_dir: str, caplog: pytest.LogCaptureFixture) -> None:
    """An absolute directory, or none, goes without a word."""
    SecurityConfig.from_mapping({"mode": "mtls", "cert_dir": cert_dir, "tls": PEM})
    assert not caplog.records


def test_written_block_is_whole() -> None:
    """A block is written with every member, as JSON can say it, and with what was completed."""
    config = SecurityConfig.from_mapping(
        {
            "mode": "SPIFFE",
            "trust_domain": "spiffe://meadow.example/x",
            "server_spiffe_id": "services/hub",
            "cert_dir": "pki",
            "ca_file": "roots.pem",
        },
    )
    assert config.to_mapping() == {
        "mode": "spiffe",
        "role": "",
        "cert_dir": "pki",
        "server_name": "",
        "tls": {
            "cert_file": "",
            "key_file": "",
            "ca_file": "roots.pem",
            "client_ca_file": "roots.pem",
        },
        "trust_domain": "meadow.example",
        "server_spiffe_id": "spiffe://meadow.example/services/hub",
        "workload_socket": "unix:/run/spire/sockets/agent.sock",
    }


steps = st.lists(st.sampled_from(["pki", "x", "..", ".", "", "a.pem"]), max_size=4).map("/".join)
directories = st.one_of(
    steps,
    steps.map("/{}".format),
    st.sampled_from(["C:\\pki", "c:/pki/..", "\\\\host\\pki", "C:pki", "\\"]),
)
paths = st.one_of(directories, st.sampled_from(["a.pem", "..\\a.pem", "D:a.pem", "sub\\a.pem"]))


@patient
@given(
    mode=st.sampled_from(["spiffe", "none", "MTLS"]),
    trust_domain=st.sampled_from(["", "meadow.example", " spiffe://meadow.example/x "]),
    server_id=st.sampled_from(["", "spiffe://a/b", "SPIFFE://a/b", "spiffe://a"]),
    cert_dir=directories,
    files=st.dictionaries(st.sampled_from(FILES), paths),
    flat=st.booleans(),
)
def test_normal_form_is_stable(
    *,
    mode: str,
    trust_domain: str,
    server_id: str,
    cert_dir: str,
    files: dict[str, str],
    flat: bool,
) -> None:
    """A block written from a value is read back as the same value: nothing applies twice."""
    files = {**PEM, **{name: path for name, path in files.items() if path}}
    config = SecurityConfig.from_mapping(
        {
            "mode": mode,
            "trust_domain": trust_domain,
            "server_spiffe_id": server_id,
            "cert_dir": cert_dir,
            **(files if flat else {"tls": files}),
        },
    )
    again = SecurityConfig.from_mapping(config.to_mapping())
    assert config == again
    assert config.to_mapping() == again.to_mapping()
