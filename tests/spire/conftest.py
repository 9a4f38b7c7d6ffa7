"""Fixtures for tests against real SPIRE.

``spire``
    A started `tests.realparts.spire.Spire`, one for each test worker that runs such a test; it
    starts on first use, in one to two seconds. A test may stop, kill and pause its parts: after
    each test they run again, and the entries that the test left are deleted.

A test that needs settings of its own takes ``with Spire(default_x509_svid_ttl=10) as spire:``.
Both kinds carry ``@pytest.mark.spire``. Run with ``--dist loadgroup``, pytest-xdist sends all
users of the fixture to one worker, so that the others start none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.realparts.spire import Spire

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the users of the fixture, and keep its start (maybe a build) out of their time limit."""
    for item in items:
        if "spire" in getattr(item, "fixturenames", ()):
            if item.config.pluginmanager.hasplugin("xdist"):
                item.add_marker(pytest.mark.xdist_group("spire"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(120, func_only=True))


@pytest.fixture(scope="session")
def spire() -> Iterator[Spire]:
    """Run Postgres, a SPIRE server and a SPIRE agent for the whole test run."""
    with Spire() as running:
        yield running


@pytest.fixture(autouse=True)
def _spire_as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "spire" in request.fixturenames:
        request.getfixturevalue("spire").reset()
