"""The bootstrap: merged with the application's, shown for a moment, and gone again."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from serviceradar_security.errors import ConfigError, SecurityError
from serviceradar_security.grpc.client.bootstrap import PrivateFolder, exported, merge_bootstrap
from tests.grpc.client.child import run, write_identity

if TYPE_CHECKING:
    from tests.grpc.client.conftest import World

PROVIDERS = {"serviceradar-security:identity-0-0": {"plugin_name": "file_watcher"}}
APPLICATION = {
    "xds_servers": [{"server_uri": "xds.example:443"}],
    "node": {"id": "app", "metadata": {"zone": "a"}},
    "authorities": {"app": {"xds_servers": []}},
    "certificate_providers": {
        "app": {"plugin_name": "file_watcher"},
        "serviceradar-security:identity-7-7": {"plugin_name": "of a parent process"},
    },
    "other": [1],
}


@pytest.mark.parametrize("form", ["none", "text", "file", "both"])
def test_the_applications_bootstrap_keeps_what_is_its_own(form: str, tmp_path: Path) -> None:
    """Servers, node and unknown fields are the application's; ours are added or stand alone."""
    environ = {}
    if form in ("text", "both"):
        wins = form == "text"
        environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps(APPLICATION) if wins else "{not read"
    if form in ("file", "both"):
        (tmp_path / "bootstrap.json").write_text(json.dumps(APPLICATION))
        environ["GRPC_XDS_BOOTSTRAP"] = str(tmp_path / "bootstrap.json")
    merged = merge_bootstrap(environ, "/run/ads.sock", PROVIDERS)
    ours = merged["authorities"]["serviceradar-security"]["xds_servers"]
    assert ours[0]["server_uri"] == "unix:/run/ads.sock"
    if form == "none":
        assert merged["xds_servers"] == ours
        assert merged["certificate_providers"] == PROVIDERS
        return
    for name in ("xds_servers", "node", "other"):
        assert merged[name] == APPLICATION[name]
    assert set(merged["authorities"]) == {"app", "serviceradar-security"}
    assert set(merged["certificate_providers"]) == {"app", *PROVIDERS}


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"GRPC_XDS_BOOTSTRAP": "/nonexistent/bootstrap"}, "GRPC_XDS_BOOTSTRAP is set"),
        ({"GRPC_XDS_BOOTSTRAP_CONFIG": "{"}, "GRPC_XDS_BOOTSTRAP_CONFIG is set"),
        ({"GRPC_XDS_BOOTSTRAP_CONFIG": "[" * 5_000}, "cannot be read"),
        ({"GRPC_XDS_BOOTSTRAP_CONFIG": "[]"}, "no JSON object"),
        ({"GRPC_XDS_BOOTSTRAP_CONFIG": '{"authorities": 1}'}, "'authorities' is no JSON object"),
        (
            {"GRPC_XDS_BOOTSTRAP_CONFIG": '{"certificate_providers": []}'},
            "'certificate_providers' is no JSON object",
        ),
    ],
    ids=str,
)
def test_an_unreadable_bootstrap_of_the_application_is_named(
    environ: dict[str, str],
    said: str,
) -> None:
    """The error says which variable is at fault."""
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        merge_bootstrap(environ, "/run/ads.sock", PROVIDERS)


@pytest.mark.parametrize(
    "before",
    [
        {},
        {"GRPC_XDS_BOOTSTRAP": "file"},
        {"GRPC_XDS_BOOTSTRAP_CONFIG": ""},
        {"GRPC_XDS_BOOTSTRAP": "", "GRPC_XDS_BOOTSTRAP_CONFIG": "text"},
        {"GRPC_EXPERIMENTAL_XDS_MTLS_SPIFFE": "false"},
    ],
    ids=str,
)
def test_the_environment_is_restored_exactly(before: dict[str, str]) -> None:
    """Set, empty and missing variables are afterwards as they were, also after an error."""
    environ = dict(before)
    with contextlib.suppress(KeyError), exported({"node": 1}, environ):
        shown = dict(environ)
        raise KeyError
    assert shown == {
        "GRPC_XDS_BOOTSTRAP_CONFIG": '{"node": 1}',
        "GRPC_EXPERIMENTAL_XDS_MTLS_SPIFFE": "true",
    }
    assert environ == before


def test_the_folder_is_private_and_leaves_nothing(short_folder: Path) -> None:
    """Only its owner can enter the folder, and it is gone when it is removed."""
    folder = PrivateFolder({"XDG_RUNTIME_DIR": str(short_folder)})
    assert folder.path.parent == short_folder
    assert folder.path.stat().st_mode & 0o777 == 0o700
    Path(folder.socket).touch()
    folder.remove()
    assert list(short_folder.iterdir()) == []


def test_orphaned_folders_are_removed_and_others_are_not(short_folder: Path) -> None:
    """Folders in use, fresh ones and other things stay."""
    environ = {"XDG_RUNTIME_DIR": str(short_folder)}
    used = PrivateFolder(environ)
    fresh = short_folder / "serviceradar-grpc-fresh"
    orphan = short_folder / "serviceradar-grpc-orphan"
    other = short_folder / "another"
    for each in (fresh, orphan, other):
        each.mkdir()
    (orphan / "ads.sock").touch()
    for each in (used.path, orphan, other):
        os.utime(each, (1, 1))
    made = PrivateFolder(environ)
    assert set(short_folder.iterdir()) == {used.path, made.path, fresh, other}
    used.remove()
    made.remove()


def test_without_a_usable_folder_the_error_names_each(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What was tried and what to set is in the message."""
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(SecurityError, match="set XDG_RUNTIME_DIR or TMPDIR") as caught:
        PrivateFolder({"XDG_RUNTIME_DIR": str(long)})
    assert "too long for a socket" in str(caught.value)
    assert "missing: No such file or directory" in str(caught.value)
    assert list(long.iterdir()) == []


# The application's own xDS: a control plane that leads "app" to a plaintext server.
APPLICATION_PLANE = """
import asyncio, json, tempfile, threading
from concurrent.futures import ThreadPoolExecutor
from serviceradar_security._proto import control_plane_pb2 as pb
from serviceradar_security.grpc.client.control_plane import ControlPlane
from serviceradar_security.grpc.client.resources import *
target, folder = sys.argv[1:]
socket = tempfile.mkdtemp(prefix="sr-") + "/s"
async def serve():
    plane = ControlPlane()
    listener = build_listener("app", {"app": "cluster"})
    plane.put(LISTENER, "app", listener)
    cluster = pb.Cluster(
        name="cluster", type=3,
        eds_cluster_config=pb.EdsClusterConfig(
            eds_config=pb.ConfigSource(self=pb.SelfConfigSource()), service_name="endpoints"))
    plane.put(CLUSTER, "cluster", pb.Any(type_url=CLUSTER, value=cluster.SerializeToString()))
    plane.put(ENDPOINTS, "endpoints", build_endpoints("endpoints", [("127.0.0.1", int(os.environ["APP_PORT"]))]))
    await plane.start(socket)
    ready.set()
    await asyncio.Event().wait()
ready = threading.Event()
threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
assert ready.wait(5)
os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps({
    "xds_servers": [{"server_uri": "unix:" + socket, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}],
    "node": {"id": "app"}})
"""


@pytest.mark.parametrize("order", ["ours first", "the application's first"])
def test_the_applications_xds_and_ours_live_in_one_process(
    world: World,
    tmp_path: Path,
    order: str,
) -> None:
    """Ours first, both work; the application's first, ours say so, and work once it is closed."""
    write_identity(world, tmp_path)
    app = world.serve(plaintext=True)
    server = world.serve()
    first = """
made = dial(target, folder)
print(call(made))
app = grpc.insecure_channel("xds:///app")
print(call(app))
print(call(made))
"""
    second = """
app = grpc.insecure_channel("xds:///app")
print(call(app))
try:
    dial(target, folder)
except Exception as error:
    print(type(error).__name__, error)
print(call(app))
app.close()
for _ in range(3):
    try:
        made = dial(target, folder)
        break
    except Exception as error:
        print("again", error)
print(call(made))
"""
    program = APPLICATION_PLANE + (first if order == "ours first" else second)
    facts: dict[str, Any] = {"environment": {"APP_PORT": str(app.port)}, "timeout": 60}
    done = run(program, server.target, str(tmp_path), **facts)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    if order == "ours first":
        assert [line.split()[0] for line in lines] == ["answered"] * 3, lines
    else:
        assert lines[0].startswith("answered")
        assert lines[1].startswith("SecurityError gRPC core did not take up the control plane")
        assert "before the application's xDS channels, or close those first" in lines[1]
        assert lines[2].startswith("answered")
        assert lines[-1].startswith("answered"), lines
    assert len(app.requests) == (1 if order == "ours first" else 2)


@pytest.mark.parametrize("state", ["not used", "server", "client"])
def test_grpc_may_have_been_used_before(world: World, tmp_path: Path, state: str) -> None:
    """Core reads its switch with the bootstrap: plain gRPC before us changes nothing."""
    write_identity(world, tmp_path)
    use = {
        "not used": "pass",
        "server": """
from concurrent.futures import ThreadPoolExecutor
server = grpc.server(ThreadPoolExecutor(1)); server.add_insecure_port("127.0.0.1:0"); server.start()
""",
        "client": 'plain = grpc.insecure_channel("127.0.0.1:1"); call(plain)',
    }[state]
    done = run(
        f"{use}\nprint(call(dial(*sys.argv[1:])))\nos._exit(0) if sys.stdout.flush() is None else 1",
        world.serve().target,
        str(tmp_path),
    )
    assert done.stdout.startswith("answered"), done.stderr
