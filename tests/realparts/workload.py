"""An identity for each of several Python processes on one machine.

A SPIRE agent tells processes apart by user, group and the path of their program. All processes of
a virtual environment run the same program, the interpreter that ``bin/python`` is a symlink to.
An interpreter of one's own, in another place, is another program with the same packages.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

__all__ = ["interpreter"]


def interpreter(folder: Path, name: str) -> Path:
    """Make a Python interpreter that a SPIRE agent tells apart from all others.

    It sees what the running one does: the standard library, installed packages and editable
    installs. Its selector is ``unix:path:`` and the path that this returns. A user ID of its own
    (``unix:uid:``) needs root, and an interpreter in a place that this user can reach.

    Args:
        folder: Where its environment goes, outside the source tree.
        name: Name of the environment, one for each identity.
    """
    home = folder.resolve() / name
    own = home / "bin" / "python3"
    own.parent.mkdir(parents=True)
    original = Path(os.path.realpath(sys.executable))
    try:
        os.link(original, own)
    except OSError:  # another file system, or a file that is not ours
        shutil.copy2(original, own)
    # An interpreter beside a pyvenv.cfg finds the standard library through `home` (PEP 405).
    settings = f"home = {original.parent}\ninclude-system-site-packages = false\n"
    (home / "pyvenv.cfg").write_text(settings)
    packages = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(home)}))
    packages.parent.mkdir(parents=True)
    packages.symlink_to(sysconfig.get_path("purelib"))
    for library in Path(sys.base_prefix, "lib").glob("libpython3*.so*"):
        # for interpreters that look for it beside themselves ($ORIGIN/../lib)
        (home / "lib" / library.name).symlink_to(library)
    return own
