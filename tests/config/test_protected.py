"""Protected paths: what is security in all but name, entry by entry, and sets of one's own."""

from __future__ import annotations

import copy
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.config.block_members import NO_SWITCHES, BlockMembers
from serviceradar_security.config.blocks import render_path
from serviceradar_security.config.kinds import KINDS
from serviceradar_security.config.overlay import apply_overlay
from serviceradar_security.config.protected import (
    PROTECTED_PATHS,
    ProtectedPath,
    ProtectedPaths,
)
from serviceradar_security.errors import ConfigError, OverlayRefusedError
from tests.config.documents import as_toml

if TYPE_CHECKING:
    from collections.abc import Callable

    from serviceradar_security.config.formats import Format

CANARY = "canary-do-not-show"

# What is listed is decided here once more, so that no entry goes by accident.
EXPECTED = {
    *("rbac", "nats_operator.allowed_client_identities", "auth", "cors", "spire_admin"),
    *("core_address", "gateway_addr", "kv_address", "nats_url", "output.nats_url"),
    *("nats_creds_file", "nats.creds_file", "output.nats_creds_file"),
    *("nats_operator.operator_seed_env", "nats_operator.operator_seed_file"),
    "nats_operator.system_account_creds_file",
    "nats_operator.system_account_public_key_env",
    "nats_operator.system_account_public_key_file",
    *("edge_onboarding.encryption_key", "mcp.api_key", "srql.api_key", "cnpg.password"),
    *("edge_onboarding.default_metadata", "edge_onboarding.default_selectors"),
    *("edge_onboarding.download_token_ttl", "edge_onboarding.join_token_ttl"),
    "edge_onboarding.downstream_path_template",
    *("cnpg.cert_dir", "cnpg.ssl_mode", "cnpg.tls", "database.tls"),
    *("logging.otel.endpoint", "logging.otel.insecure", "logging.otel.tls"),
    *("cnpg.host", "cnpg.port", "database.addresses", "database.password", "srql.base_url"),
    *("webhooks", "checkers_dir"),
    *("grpc.server_name", "grpc.role", "grpc.enabled", "grpc.insecure", "grpc.skip_verify"),
    *("grpc.insecure_skip_verify", "grpc.tls_enabled"),
    *("grpc.ca_file", "grpc.cert_dir", "grpc.cert_file", "grpc.client_ca_file", "grpc.key_file"),
    *("grpc.mode", "grpc.server_spiffe_id", "grpc.tls", "grpc.trust_domain"),
    *("grpc.workload_socket", "grpc_tls", "nats.tls"),
    *("input.tls_ca_file", "input.tls_cert", "input.tls_key", "input.tls_verify_peer"),
    *("output.nats_tls_ca_file", "output.nats_tls_cert", "output.nats_tls_key"),
    "output.nats_tls_skip_verify",
}
HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"rbac": {"roles": []}}, "rbac"),
    ({"rbac": None}, "rbac"),
    ({"RBAC": {}}, "RBAC"),
    ({"spire_admin": {"enabled": True}}, "spire_admin"),
    ({"\u017fpire_admin": {}}, "\u017fpire_admin"),
    ({"KV_Address": "other:1"}, "KV_Address"),
    ({"\u212av_addre\u017f\u017f": "other:1"}, "\u212av_addre\u017f\u017f"),
    (
        {"nats_operator": {"allowed_client_identities": []}},
        "nats_operator.allowed_client_identities",
    ),
    (
        {"NATS_Operator": {"Allowed_Client_Identities": []}},
        "NATS_Operator",
    ),
    ({"nats_operator": None}, "nats_operator"),
    ({"nats_operator": []}, "nats_operator"),
    ({"NATS_operator": {}}, "NATS_operator"),
    ({"nats_operator": [{"allowed_client_identities": []}]}, "nats_operator"),
    ({"cnpg": {"ssl_mode": "disable"}}, "cnpg.ssl_mode"),
    ({"cnpg": [{"ssl_mode": "disable"}]}, "cnpg"),
    ({"CNPG": None}, "CNPG"),
    ({"logging": {"otel": {"insecure": True}}}, "logging.otel.insecure"),
    ({"logging": {"OTEL": {"InSecure": True}}}, "logging.OTEL"),
    ({"logging": None}, "logging"),
    ({"logging": "x"}, "logging"),
    ({"logging": {"otel": []}}, "logging.otel"),
    ({"Logging": {"level": "debug"}}, "Logging"),
    ({"grpc": {"mode": "none"}}, "grpc.mode"),
    ({"grpc": {"listen_addr": ":1", "trust_domain": "other"}}, "grpc.trust_domain"),
    ({"database": {"tls": None}}, "database.tls"),
    ({"auth": {"jwt_secret": "x"}}, "auth"),
]
BASE: dict[str, Any] = {
    "poll_interval": "30s",
    "listen_addr": ":50051",
    "checks": [{"name": "a"}],
    "rbac": {"roles": [{"identity": "spiffe://meadow.example/core", "role": "writer"}]},
    "nats_operator": {"name": "north", "allowed_client_identities": ["a"]},
    "spire_admin": {"enabled": False},
    "kv_address": "vault:50057",
    "cnpg": {"host": "db", "ssl_mode": "verify-full"},
    "logging": {"level": "info", "otel": {"enabled": True, "insecure": False}},
    "grpc": {"listen_addr": ":50044", "mode": "spiffe", "trust_domain": "meadow.example"},
    "database": {"name": "default", "tls": {"ca_file": "root.pem"}},
    "security": {"mode": "spiffe"},
}
INNOCENT: list[dict[str, Any]] = [
    {"poll_interval": "5s", "listen_addr": ":1", "checks": []},
    {"logging": {"level": "debug"}},
    {"logging": {"level": None, "otel": {"enabled": False, "batch_timeout": "1s"}}},
    {"logging": {"otel": {}}},
    {"nats_operator": {"name": "south"}},
    {"cnpg": {"database": "other", "max_conns": 3}},
    {"grpc": {"listen_addr": ":2"}},
    {"database": {"name": "x", "settings": {"tls": 1}}},
    {"edge_onboarding": {"enabled": False, "poller_id_prefix": "e"}},
    {
        "edge_onboarding": None,
        "nats": None,
        "output": {"nats_subject": "x"},
        "input": {"type": "udp"},
    },
    {
        "nested": {
            "rbac": {},
            "kv_address": "x",
            "grpc": {"mode": "x"},
            "logging": {"otel": {"insecure": 1}},
        }
    },
    {"tags": [{"rbac": 1}], "rbac_note": "x", "kv_addresses": [], "features": {"auth": 1}},
]


def refused(overlay: Any, base: dict[str, Any] = BASE, **options: Any) -> OverlayRefusedError:
    """Apply an overlay that must be refused, and see that the base is as it was."""
    before = copy.deepcopy(base)
    with pytest.raises(OverlayRefusedError) as caught:
        apply_overlay(base, overlay, **options)
    assert before == base
    return caught.value


def nested(path: str, value: object) -> dict[str, Any]:
    """Make a document with one value at a path."""
    made: Any = value
    for name in reversed(path.split(".")):
        made = {name: made}
    assert isinstance(made, dict)
    return made


def test_the_list() -> None:
    """The set is the one that was decided on, each path once, each with a reason."""
    assert set(PROTECTED_PATHS.paths) == EXPECTED
    assert len(PROTECTED_PATHS.paths) == len(EXPECTED)
    assert all(
        entry.reason.split()[0] in {"decides", "names", "is"} for entry in PROTECTED_PATHS.entries
    )
    assert PROTECTED_PATHS.name == "platform"


@pytest.mark.parametrize("value", [None, "x", 0, [], {}, {"a": 1}, [{"a": 1}]])
@pytest.mark.parametrize("path", sorted(EXPECTED))
def test_every_path(path: str, value: object) -> None:
    """Each path is refused over any base, in any spelling and behind lists, with set and reason."""
    (entry,) = [entry for entry in PROTECTED_PATHS.entries if entry.path == path]
    upper = path.upper().replace("K", "\u212a")
    first, *rest = path.split(".")
    in_list = {first: [{}, nested(".".join(rest), value)]} if rest else nested(path, value)
    for base in ({}, nested(path, value), nested(path, "other")):
        for overlay in (nested(path, value), nested(upper, value), in_list):
            error = refused(json.dumps(overlay), base)
            assert "platform" in str(error)
            assert entry.reason in str(error)
    assert refused(nested(path, value)).paths == (path,)


@pytest.mark.parametrize("value", [None, "x", 0, []])
@pytest.mark.parametrize("path", sorted(path for path in EXPECTED if "." in path))
def test_every_parent(path: str, value: object) -> None:
    """No parent of a path in the base is replaced, nor given a twin."""
    names = path.split(".")
    base = nested(path, "x")
    for depth in range(1, len(names)):
        parent = ".".join(names[:depth])
        assert refused(nested(parent, value), base).paths == (parent,)
        twin = ".".join([*names[: depth - 1], names[depth - 1].upper()])
        assert refused(nested(twin, {}), base).paths == (twin,)
        assert apply_overlay({}, nested(parent, value)) == nested(parent, value)
        assert apply_overlay(base, nested(parent, {})) == base


@pytest.mark.parametrize(("overlay", "path"), HOSTILE, ids=lambda value: ascii(value)[:60])
def test_hostile(overlay: dict[str, Any], path: str) -> None:
    """What would set, hide or remove a protected path is refused, as mapping and as text."""
    assert refused(overlay).paths[0] == path
    assert refused(json.dumps(overlay)).paths[0] == path


@pytest.mark.parametrize("overlay", INNOCENT, ids=lambda value: ascii(value)[:60])
def test_innocent(overlay: dict[str, Any]) -> None:
    """What stands beside a protected path is the overlay's to set."""
    result = apply_overlay(BASE, json.dumps(overlay))
    for name in ("rbac", "spire_admin", "kv_address", "security"):
        assert result[name] == BASE[name]
    assert apply_overlay(BASE, overlay) == result
    assert result != BASE or overlay == {"logging": {"otel": {}}}


def test_together_with_security_names() -> None:
    """One refusal lists both kinds of offenders, in the order of the overlay."""
    overlay = {
        "kv_address": "x",
        "a": [{"security": 1}],
        "logging": {"otel": {"tls": {"b_security": 1}, "insecure": True}},
        "cnpg": None,
    }
    expected = (
        "kv_address",
        "a[0].security",
        "logging.otel.tls",
        "logging.otel.tls.b_security",
        "logging.otel.insecure",
        "cnpg",
    )
    error = refused(overlay)
    assert error.paths == expected
    assert [problem.path for problem in error.problems] == list(expected)


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("toml", as_toml({"grpc": {"mode": "none"}})),
        ("toml", "grpc.mode = 'none'"),
        ("toml", "[[grpc]]\nmode = 'none'"),
        ("yaml", "grpc:\n  mode: none"),
        ("yaml", '"\\x67rpc": {mode: none}'),
        ("json", '{"\\u0067rpc": {"mode": "none"}}'),
    ],
)
def test_flowgger(format_: Format, text: str) -> None:
    """Flowgger's block has no security name, and is guarded in every format."""
    base = {"grpc": {"listen_addr": ":50044", "mode": "spiffe"}}
    assert all(path.startswith("grpc") for path in refused(text, base, format=format_).paths)


def test_off_and_other_sets() -> None:
    """The set can be another one, or none; security names are refused whatever it is."""
    overlay = {"kv_address": "other", "rbac": None}
    assert apply_overlay(BASE, overlay, protected=ProtectedPaths())["kv_address"] == "other"
    own = ProtectedPaths().with_paths("checks", reason="says what runs", name="mine")
    error = refused({"checks": [], "security": None}, protected=own)
    assert error.paths == ("checks", "security")
    assert "(set mine) because it says what runs" in str(error)
    fewer = PROTECTED_PATHS.without("kv_address")
    assert apply_overlay(BASE, {"kv_address": "other"}, protected=fewer)["kv_address"] == "other"
    assert refused(overlay, protected=fewer).paths == ("rbac",)


def test_any_name() -> None:
    """An asterisk is any one name."""
    own = ProtectedPaths().with_paths("agents.*.address", "agents.x.y")
    base = {"agents": {"a": {"address": "x", "b": 1}}}
    assert refused({"agents": {"new": {"address": 1}}}, base, protected=own).paths == (
        "agents.new.address",
    )
    assert refused({"agents": {"x": {"address": 1, "Y": 2}}}, base, protected=own).paths == (
        "agents.x.address",
        "agents.x.Y",
    )
    assert refused({"agents": {"a": None}}, base, protected=own).paths == ("agents.a",)
    assert refused({"agents": {"A": {}}}, base, protected=own).paths == ("agents.A",)
    assert apply_overlay(base, {"agents": {"a": {"b": 2}, "c": None}}, protected=own)


def test_values() -> None:
    """Sets are values: equal if alike, hashable, unchangeable, and readable."""
    one = ProtectedPaths().with_paths("a.b", "c", reason="matters", name="mine")
    assert one == ProtectedPaths(
        (ProtectedPath("a.b", "matters"), ProtectedPath("c", "matters")), name="mine"
    )
    assert hash(one) == hash(one.with_paths("c"))
    assert one == one.with_paths("c")
    assert one != one.without("c")
    assert one.without("c").without("a.b") == ProtectedPaths(name="mine")
    assert repr(one) == "ProtectedPaths('mine', ['a.b', 'c'])"
    assert str(one.entries[0]) == "a.b"
    assert copy.deepcopy(one) == one
    for name in ("entries", "name", "_root"):
        with pytest.raises(AttributeError):
            setattr(one, name, ())


@pytest.mark.parametrize("protected", [None, (), "rbac", ["rbac"]])
def test_no_set(protected: Any) -> None:
    """What is no set of paths is refused: it would protect nothing."""
    with pytest.raises(ConfigError, match="give ProtectedPaths"):
        apply_overlay(BASE, {}, protected=protected)


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "a.", ".a", "a..b", None, 3, b"a", ("a",)),
        *("checks[0].address", "a.[]", "agents.*-a.address", "a.**", "*a", " kv_address"),
        *("kv_address ", "a b", "a\tb", "a.\nb", '"a.b".c', "'a'", "a\\b", "a\x00b", "a\u2028b"),
    ],
    ids=ascii,
)
def test_no_path(path: Any) -> None:
    """What is no path is refused: it would protect nothing."""
    with pytest.raises(ConfigError, match="no protected path"):
        ProtectedPaths().with_paths(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProtectedPaths(("kv_address",)),  # type: ignore[arg-type]  # refused for that
        lambda: ProtectedPaths([ProtectedPath("a", "is")]),  # type: ignore[arg-type]  # as above
        lambda: ProtectedPaths(None),  # type: ignore[arg-type]  # as above
        lambda: ProtectedPaths(name=3),  # type: ignore[arg-type]  # as above
        lambda: ProtectedPath("a", 3),  # type: ignore[arg-type]  # as above
    ],
    ids=["texts", "list", "none", "name", "reason"],
)
def test_no_entries(make: Callable[[], object]) -> None:
    """What is no set of paths with reasons is our error, when it is made."""
    with pytest.raises(ConfigError):
        make()


def test_every_member_of_the_grpc_table() -> None:
    """Whatever is read as a member of a block, or looks like a switch of one, is protected."""
    members = {*BlockMembers.model_fields, *NO_SWITCHES}
    listed = {path for path in PROTECTED_PATHS.paths if path.startswith("grpc.")}
    assert listed == {f"grpc.{name}" for name in members}
    assert not members & KINDS["grpc_server"].others


def test_without_what_is_not_there() -> None:
    """A path that the set does not have cannot be taken out: what was meant stays protected."""
    with pytest.raises(ConfigError, match="has no path 'kv_adress'"):
        PROTECTED_PATHS.without("kv_adress")


def test_refusal_shows_no_value(caplog: pytest.LogCaptureFixture) -> None:
    """Neither error nor log shows a value of overlay or base."""
    caplog.set_level(logging.DEBUG)
    base = {"cnpg": {"password": CANARY, "ssl_mode": CANARY}}
    error = refused({"cnpg": CANARY, "auth": {"jwt_secret": CANARY}}, base)
    (record,) = caplog.records
    assert error.paths == ("cnpg", "auth")
    assert CANARY not in f"{error} {error!r} {error.problems} {record.getMessage()} {vars(record)}"


def test_many_twins_of_a_large_parent() -> None:
    """A large parent is looked at once, however many twins an overlay gives it."""
    base = {"logging": {"otel": {"insecure": False}, "noise": [{"a": [1]} for _ in range(50_000)]}}
    twins: dict[str, Any] = {
        "".join(c.upper() if n >> i & 1 else c for i, c in enumerate("logging")): {}
        for n in range(1, 128)
    }
    error = refused({**twins, "logging": {"otel": {"INSECURE": 1}}}, base)
    assert len(error.paths) == 128
    assert error.paths[-1] == render_path(("logging", "otel", "INSECURE"))
