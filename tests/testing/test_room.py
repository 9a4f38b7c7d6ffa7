"""The room's surface: what it exports, what its import costs, and that the docs know all of it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from serviceradar_security import testing
from serviceradar_security.testing.authority import FakeAuthority, Mutations
from serviceradar_security.testing.rehearsal import REHEARSAL_STEPS
from serviceradar_security.testing.workload_api import FakeWorkloadApi
from tests.testing.projects import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text()


@pytest.mark.parametrize("name", testing.__all__)
def test_a_name_of_the_room(name: str) -> None:
    """Each name can be imported, is that of its module, and is documented in code and page."""
    value = getattr(testing, name)

    module = import_module(f"serviceradar_security.testing.{testing._HOMES[name]}")
    assert value is getattr(module, name)
    assert name in module.__all__
    assert (value.__doc__ or "").strip()
    assert f"`{name}" in PAGE


def test_the_type_checker_sees_the_same() -> None:
    """What is imported for type checkers is what is given at run time, from the same modules."""
    tree = ast.parse(inspect.getsource(testing))
    (block,) = [each for each in tree.body if isinstance(each, ast.If)]
    seen = {
        alias.name: (each.module or "").rpartition(".")[2]
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }

    assert seen == testing._HOMES
    assert sorted(seen) == testing.__all__ == dir(testing)


def test_what_the_room_does_not_have() -> None:
    """An unknown name is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="'FakeAgent'"):
        _ = testing.FakeAgent


@pytest.mark.parametrize("name", ["FakeAuthority", "FakeWorkloadApi", "rehearse"])
def test_pytest_is_not_needed(name: str) -> None:
    """Whoever uses the room without pytest loads neither pytest, nor gRPC, nor pydantic."""
    script = f"from serviceradar_security.testing import {name}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert set(done.stdout.split()).isdisjoint({"pytest", "grpc", "pydantic", "trustme"})


# ---- the page ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mutation", ["ttl", "not_after", *Mutations.__annotations__])
def test_the_page_has_each_mutation(mutation: str) -> None:
    """Each mutation of the authority stands in the page's table."""
    assert f"| `{mutation}=" in PAGE


def test_the_mutations_are_the_keywords() -> None:
    """`Mutations` has what `issue_certificate` takes, beside what both functions name."""
    taken = inspect.signature(FakeAuthority.issue_certificate).parameters

    assert set(taken) - {"self", "spiffe_id", "ttl", "not_after"} == set(Mutations.__annotations__)


COMMANDS = [
    name
    for name, value in vars(FakeWorkloadApi).items()
    if not name.startswith("_") and inspect.isfunction(value)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_each_command(command: str) -> None:
    """Each command of the fake Workload API stands in the page."""
    assert f"`{command}(" in PAGE


@pytest.mark.parametrize("step", REHEARSAL_STEPS)
def test_the_page_has_each_step(step: str) -> None:
    """Each step of the rehearsal stands in the page."""
    assert f"| {step} |" in PAGE
