"""Memory files: replaced in one step, never empty, never anybody else's."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from serviceradar_security.errors import SecurityError
from serviceradar_security.grpc.client.memory_file import WITHDRAWN, MemoryFile
from tests.grpc.client.child import run


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_each_content_is_read_through_the_same_path() -> None:
    """A replacement shows under the old path, with another whole second as its time."""
    file = MemoryFile("test")
    seen = []
    for content in (b"one", b"two" * 100_000, b"one"):
        file.replace(content)
        assert Path(file.path).read_bytes() == content
        seen.append(int(Path(file.path).stat().st_mtime))
    assert len(set(seen)) == 3
    assert 0 not in seen
    file.close()


def test_a_new_file_and_a_withdrawn_one_hold_nothing_usable() -> None:
    """There is no moment at which the file is empty."""
    file = MemoryFile("test")
    assert Path(file.path).read_bytes() == WITHDRAWN
    file.replace(b"secret")
    file.withdraw()
    assert Path(file.path).read_bytes() == WITHDRAWN
    with pytest.raises(ValueError, match="empty file is never written"):
        file.replace(b"")
    file.close()


def test_readers_see_one_content_or_the_other() -> None:
    """While contents change quickly, a reader that opens the path gets a whole one."""
    file = MemoryFile("test")
    contents = {bytes([65 + number]) * 20_000 for number in range(10)}
    file.replace(min(contents))
    done = threading.Event()
    torn: list[bytes] = []

    def read() -> None:
        while not done.is_set():
            found = Path(file.path).read_bytes()
            if found not in contents:
                torn.append(found[:20])

    threads = [threading.Thread(target=read) for _ in range(2)]
    for each in threads:
        each.start()
    for _ in range(100):
        for content in contents:
            file.replace(content)
    done.set()
    for each in threads:
        each.join(10)
    assert torn == []
    file.close()


def test_a_descriptor_that_was_closed_by_others_is_not_overwritten() -> None:
    """If our number belongs to another file now, that file is left alone and the error says why."""
    file = MemoryFile("test")
    foreign = os.memfd_create("foreign")
    number = int(file.path.rpartition("/")[2])
    os.close(number)
    with pytest.raises(SecurityError, match="closed by another part of the program"):
        file.replace(b"new")
    moved = os.dup2(foreign, number)
    os.write(moved, b"foreign")
    with pytest.raises(SecurityError, match="closed by another part of the program"):
        file.replace(b"new")
    file.close()
    assert os.pread(moved, 20, 0) == b"foreign"
    os.close(foreign)
    os.close(moved)


def test_closing_gives_the_descriptors_back() -> None:
    """A file costs one descriptor, and none after it was closed."""
    before = descriptors()
    files = [MemoryFile("test") for _ in range(5)]
    for file in files:
        file.replace(b"content")
    assert descriptors() == before + 5
    for file in files:
        file.close()
        file.close()
    assert descriptors() == before


def test_a_child_process_cannot_change_the_parents_file() -> None:
    """After a fork the parent's content stays, whatever the child writes."""
    # In a program of its own: this one may have used gRPC, and forking it would be another test.
    done = run(
        """
        from serviceradar_security.grpc.client.memory_file import MemoryFile
        file = MemoryFile("test")
        file.replace(b"parent")
        child = os.fork()
        if child == 0:
            file.replace(b"child")
            os._exit(0 if Path(file.path).read_bytes() == b"child" else 1)
        print(os.waitpid(child, 0)[1], Path(file.path).read_bytes().decode())
        """,
    )
    assert done.stdout == "0 parent\n", done.stderr


def test_nothing_of_the_content_is_shown() -> None:
    """The representation names the file and no byte of what is in it."""
    file = MemoryFile("identity-0")
    file.replace(b"secret")
    assert repr(file) == "MemoryFile('identity-0', generation 2)"
    file.close()
