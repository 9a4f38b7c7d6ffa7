"""Run pytest in a process of its own, on a tiny project that uses the plugin."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path(__file__).parents[2]
PLUGIN: Final = "serviceradar_security.testing.pytest_plugin"
_INI: Final = """
[pytest]
filterwarnings = error
"""


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files of a project, with an ini file if it brings none."""
    for name, text in {"pytest.ini": _INI, **files}.items():
        (folder / name).write_text(textwrap.dedent(text))


def pytest_on(
    folder: Path,
    *options: str,
    plugins: tuple[str, ...] = (PLUGIN,),
    python: str = sys.executable,
    autoload: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run pytest on a project.

    Args:
        folder: The project.
        *options: More options.
        plugins: The plugins, and no others unless `autoload`.
        python: The interpreter.
        autoload: Load what is installed as well.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    if not autoload:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    named = [part for plugin in plugins for part in ("-p", plugin)]
    return subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", *named, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
