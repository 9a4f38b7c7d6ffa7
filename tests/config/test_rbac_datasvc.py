"""ServiceRadar's datasvc: its table of methods, and role lists of the shapes that are in use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from serviceradar_security.config.datasvc import DATASVC_METHODS
from serviceradar_security.config.load import load_config
from serviceradar_security.config.rbac import RbacPolicy
from serviceradar_security.identity.spiffe_id import SpiffeId

ROOT = Path(__file__).resolve().parents[2]
OURS = Path(__file__).parent / "samples" / "vault.json"
THEIRS = sorted((ROOT.parent / "shared" / "serviceradar-configs").glob("datasvc-*.json"))

EVERYBODY = ["reader", "writer", "admin"]
WRITERS = ["writer", "admin"]
ADMINS = ["admin"]
TABLE = {
    "/proto.KVService/Get": EVERYBODY,
    "/proto.KVService/BatchGet": EVERYBODY,
    "/proto.KVService/Watch": EVERYBODY,
    "/proto.KVService/Info": EVERYBODY,
    "/proto.KVService/ListKeys": EVERYBODY,
    "/proto.DataService/GetObjectInfo": EVERYBODY,
    "/proto.DataService/DownloadObject": EVERYBODY,
    "/grpc.health.v1.Health/Check": EVERYBODY,
    "/grpc.health.v1.Health/Watch": EVERYBODY,
    "/proto.KVService/Put": WRITERS,
    "/proto.KVService/PutIfAbsent": WRITERS,
    "/proto.KVService/PutMany": WRITERS,
    "/proto.KVService/Update": WRITERS,
    "/proto.KVService/Delete": WRITERS,
    "/proto.DataService/UploadObject": WRITERS,
    "/proto.DataService/DeleteObject": WRITERS,
    "/grpc.health.v1.Health/List": ADMINS,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": ADMINS,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ADMINS,
}
NOBODY = (
    "/proto.KVService/GetX",
    "/proto.KVService/get",
    "/proto.KVService",
    "/proto.KVService/",
    "/proto.KVService/*",
    "/KVService/Get",
    "/proto.NATSAccountService/Anything",
    "/proto.Other/Get",
    "/grpc.channelz.v1.Channelz/GetServers",
)


def of_service(name: str) -> SpiffeId:
    """Give the ID of a workload."""
    return SpiffeId.parse(f"spiffe://meadow.example/ns/field/sa/{name}")


@pytest.mark.parametrize("method", [*TABLE, *NOBODY])
@pytest.mark.parametrize("name", [*EVERYBODY, "stranger"])
def test_table(name: str, method: str) -> None:
    """Each role may call what the table says, and what it does not say nobody may."""
    roles = [{"identity": str(of_service(role)), "role": role} for role in EVERYBODY]
    policy = RbacPolicy.from_config({"roles": roles}, methods=DATASVC_METHODS)
    decision = policy.decide(of_service(name), method)
    assert decision.allowed is (name in TABLE.get(method, ()))
    if name != "stranger":
        assert (decision.rule == "unknown_method") is (method not in TABLE)


def test_table_is_whole() -> None:
    """The table has three roles, no method more than these, and cannot be changed."""
    assert list(DATASVC_METHODS) == EVERYBODY
    assert set().union(*DATASVC_METHODS.values()) == set(TABLE)
    with pytest.raises(TypeError):
        DATASVC_METHODS["guest"] = frozenset()  # type: ignore[index]  # the point of the test


def test_table_can_be_extended() -> None:
    """A service adds a role of its own beside those of the table."""
    methods = {**DATASVC_METHODS, "prober": ["/grpc.health.v1.Health/Check"]}
    block = {"roles": [{"identity": str(of_service("probe")), "role": "prober"}]}
    policy = RbacPolicy.from_config(block, methods=methods)
    assert policy.decide(of_service("probe"), "/grpc.health.v1.Health/Check")
    assert not policy.decide(of_service("probe"), "/proto.KVService/Get")


def test_our_sample() -> None:
    """The rbac block of a loaded file gives its SPIFFE IDs their roles and reports the rest."""
    block = load_config(OURS).document["rbac"]
    policy = RbacPolicy.from_config(block, methods=DATASVC_METHODS)
    assert {of_service("hub"): "writer"} == policy.roles
    assert [each.path for each in policy.unmatched] == ["rbac.roles[1].identity"]


@pytest.mark.parametrize("sample", [OURS, *THEIRS], ids=lambda path: path.name)
def test_every_sample(sample: Path) -> None:
    """Every sample loads: SPIFFE IDs have the role that is written, all else never matches."""
    block = json.loads(sample.read_bytes())["rbac"]
    policy = RbacPolicy.from_config(block, methods=DATASVC_METHODS)
    written = [(each["identity"], each["role"]) for each in block["roles"]]
    ids = {identity: role for identity, role in written if identity.startswith("spiffe://")}
    names = [identity for identity, _ in written if not identity.startswith("spiffe://")]
    assert ids == {str(spiffe_id): role for spiffe_id, role in policy.roles.items()}
    assert [each.identity for each in policy.unmatched] == names
    # What a name is said to be is an ID of the same list, or of the platform's Compose form.
    for each in policy.unmatched:
        told = str(each.spiffe_id or "")
        assert not told or told in ids or told.startswith("spiffe://carverauto.dev/services/")
