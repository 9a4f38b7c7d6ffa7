"""The pytest plugin, in tiny projects of users: what its fixtures give, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testing.projects import PLUGIN, pytest_on, write

if TYPE_CHECKING:
    from pathlib import Path

FIXTURES = """
    import os

    import pytest

    from serviceradar_security import SpiffeId, WorkloadEndpoint, X509Source, verify_x509_svid


    def test_names_fit_each_other(spiffe_id, spiffe_authority, spiffe_svid):
        assert str(spiffe_id) == "spiffe://example.org/service"
        assert spiffe_svid.spiffe_id == spiffe_id
        bundles = {spiffe_authority.trust_domain: spiffe_authority.bundle}
        at = spiffe_svid.not_before
        assert verify_x509_svid(spiffe_svid.chain_der, bundles, at=at, purpose="client") == spiffe_id


    def test_the_example_of_the_docs(spiffe_workload_api):
        with X509Source(spiffe_workload_api.endpoint) as source:
            before = source.wait_ready(timeout=5)
            (renewed,) = spiffe_workload_api.rotate()
            assert before.default.spiffe_id == renewed.spiffe_id
            assert before.default != renewed


    def test_a_ready_source(spiffe_source, spiffe_workload_api, spiffe_authority):
        context = spiffe_source.current()
        assert (context.default,) == spiffe_workload_api.svids
        assert list(context.bundles.values()) == [spiffe_authority.bundle]


    def test_the_environment(spiffe_endpoint_socket, spiffe_workload_api):
        assert os.environ["SPIFFE_ENDPOINT_SOCKET"] == spiffe_endpoint_socket
        assert WorkloadEndpoint.from_environment().path == str(spiffe_workload_api.socket_path)


    def test_and_it_is_set_back():
        assert "SPIFFE_ENDPOINT_SOCKET" not in os.environ


    def test_files_for_mutual_tls(spiffe_mtls_files, tmp_path):
        for path in (
            spiffe_mtls_files.cert_file, spiffe_mtls_files.key_file, spiffe_mtls_files.ca_file
        ):
            assert path.parent == tmp_path
            assert path.read_bytes().startswith(b"-----BEGIN ")


    class TestOfAnotherName:
        @pytest.fixture
        def spiffe_id(self):
            return SpiffeId.parse("spiffe://another.example/core")

        def test_it_is_followed(self, spiffe_source, spiffe_authority):
            assert str(spiffe_source.current().default.spiffe_id) == "spiffe://another.example/core"
            assert spiffe_authority.trust_domain.name == "another.example"
"""

ASYNC_TESTS = """
    import asyncio
    import sys
    import threading

    import pytest

    {mark}


    async def test_a_rotation(spiffe_workload_api, spiffe_source):
        updates = spiffe_source.updates()
        first = await anext(updates)
        assert (first.default,) == spiffe_workload_api.svids
        (renewed,) = spiffe_workload_api.rotate()
        assert (await anext(updates)).default == renewed
        await updates.aclose()


    async def test_waiting(spiffe_source, spiffe_svid):
        context = await spiffe_source.wait_ready_async(timeout=5)
        assert context.default.spiffe_id == spiffe_svid.spiffe_id
"""
ANYIO_BACKEND = """
    import pytest


    @pytest.fixture
    def anyio_backend():
        return "asyncio"
"""


@pytest.mark.parametrize("mode", ["prepend", "append", "importlib"])
def test_the_fixtures(mode: str, tmp_path: Path) -> None:
    """Each fixture gives what it promises, in every import mode, without a warning."""
    write(tmp_path, {"test_fixtures.py": FIXTURES})

    done = pytest_on(tmp_path, f"--import-mode={mode}")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout


def test_the_fixtures_under_xdist(tmp_path: Path) -> None:
    """Workers run the fixtures side by side."""
    write(tmp_path, {f"test_fixtures_{number}.py": FIXTURES for number in range(3)})

    done = pytest_on(tmp_path, "-n", "2", plugins=(PLUGIN, "xdist.plugin"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "21 passed" in done.stdout


@pytest.mark.parametrize(
    ("plugin", "options", "mark"),
    [
        pytest.param(
            "pytest_asyncio.plugin",
            ("--asyncio-mode=strict",),
            "pytestmark = pytest.mark.asyncio",
            id="asyncio strict",
        ),
        pytest.param("pytest_asyncio.plugin", ("--asyncio-mode=auto",), "", id="asyncio auto"),
        pytest.param("anyio.pytest_plugin", (), "pytestmark = pytest.mark.anyio", id="anyio"),
    ],
)
def test_asynchronous_tests(
    plugin: str,
    options: tuple[str, ...],
    mark: str,
    tmp_path: Path,
) -> None:
    """Coroutines use the same fixtures, whoever runs them."""
    write(
        tmp_path,
        {"test_async.py": ASYNC_TESTS.replace("{mark}", mark), "conftest.py": ANYIO_BACKEND},
    )

    done = pytest_on(
        tmp_path,
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        "-W",
        "ignore:Unknown config option",
        *options,
        plugins=(PLUGIN, plugin),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


LOADED = """
    import sys


    def pytest_collection_finish(session):
        print("LOADED", *sorted(sys.modules))
"""


def loaded(folder: Path, plugins: tuple[str, ...]) -> set[str]:
    """Give the modules that are loaded when the tests are collected."""
    done = pytest_on(folder, "--collect-only", "-s", plugins=plugins)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [each for each in done.stdout.splitlines() if each.startswith("LOADED ")]
    return set(line.split()[1:])


def test_what_the_plugin_costs_at_collection(tmp_path: Path) -> None:
    """The plugin loads itself and the two packages that it is in, and nothing else."""
    write(tmp_path, {"test_one.py": "def test_one(): pass\n", "conftest.py": LOADED})

    without = loaded(tmp_path, ())
    added = loaded(tmp_path, (PLUGIN,)) - without

    assert not {each for each in without if each.startswith("serviceradar_security")}
    assert added == {"serviceradar_security", "serviceradar_security.testing", PLUGIN}


def test_a_missing_extra(tmp_path: Path) -> None:
    """Without trustme the one fixture that needs it fails in a line that says what to install."""
    write(
        tmp_path,
        {
            "conftest.py": 'import sys\nsys.modules["trustme"] = None\n',
            "test_files.py": """
                def test_files(spiffe_mtls_files): pass
                def test_identity(spiffe_source): pass
            """,
        },
    )

    done = pytest_on(tmp_path, "-q")

    assert done.returncode == 1
    assert "1 passed, 1 error" in done.stdout
    assert "pip install 'serviceradar-security[testing]'" in done.stdout
    assert "Traceback" not in done.stdout
    assert "pytest_plugin.py" not in done.stdout


def test_its_fixtures_are_documented_and_prefixed(tmp_path: Path) -> None:
    """`pytest --fixtures` shows each of them with a sentence, and all have the prefix."""
    write(tmp_path, {"test_none.py": ""})

    done = pytest_on(tmp_path, "--fixtures", "-q")

    shown = done.stdout.split(f"fixtures defined from {PLUGIN}", 1)[1].splitlines()[1:]
    names = [line.split()[0] for line in shown if line[:1].isalpha() and " -- " in line]
    assert names == [
        "spiffe_id",
        "spiffe_authority",
        "spiffe_svid",
        "spiffe_workload_api",
        "spiffe_source",
        "spiffe_endpoint_socket",
        "spiffe_mtls_files",
    ]
    assert "no docstring available" not in done.stdout
