"""The plugin as a user gets it: from the built wheel, in an environment and a project of its own."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import venv
from typing import TYPE_CHECKING

import pytest

from tests.testing.projects import ROOT, pytest_on

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("wheel")  # one worker builds it, once
NAME = "serviceradar_security"


def example(project: Path, python: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the example with the plugins that are found; asyncio's wants to be configured."""
    return pytest_on(
        project, "-p", "no:asyncio", *options, plugins=(), python=str(python), autoload=True
    )


def run(*command: str) -> str:
    """Run a program that must end well, and give what it printed."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what the library depends on is this environment's."""
    for needed in ("hatchling", "uv"):
        assert importlib.util.find_spec(needed), f"{needed} is missing: `make test` installs it"
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    (wheel,) = folder.glob("*.whl")
    environment = folder / "venv"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    run(
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-cache"),
        *("--no-deps", "--python", str(python), str(wheel)),
    )
    # A path alone: the links to this source tree, which stand there too, are not followed.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the example, far from this source tree."""
    return shutil.copytree(ROOT / "examples" / "testing", tmp_path / "project")


def test_the_library_is_that_of_the_wheel(installed: Path) -> None:
    """What is imported there comes from the installed wheel, with its types."""
    where = run(str(installed), "-I", "-c", f"import {NAME}; print({NAME}.__file__)").strip()

    assert where.startswith(str(installed.parents[1]))
    assert (installed.parents[1] / where).with_name("py.typed").is_file()


def test_the_example_passes(installed: Path, project: Path) -> None:
    """The example's test finds its fixtures by the wheel's entry point alone."""
    done = example(project, installed)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_plugin_can_be_left_out(installed: Path, project: Path) -> None:
    """The entry point's name is that of the library: by it the plugin is switched off."""
    done = example(project, installed, "-p", f"no:{NAME}")

    assert done.returncode == 1
    assert "fixture 'spiffe_workload_api' not found" in done.stdout


@pytest.mark.parametrize("options", [("-n", "2"), ("--import-mode=importlib",)])
def test_the_example_passes_in_other_ways(
    options: tuple[str, ...],
    installed: Path,
    project: Path,
) -> None:
    """Neither workers nor another way to import need a word about the plugin."""
    done = example(project, installed, *options)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
