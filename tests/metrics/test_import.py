"""What importing the room needs, and what it does not load."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.workload.scripts import run_alone

MODULES = [
    "metrics",
    *(f"metrics.{n}" for n in ("observer", "opentelemetry", "prometheus", "samples")),
]


@pytest.mark.parametrize(
    ("module", "package", "needs"),
    [
        ("prometheus", "prometheus_client", "prometheus-client: pip install '{}[prometheus]'"),
        ("opentelemetry", "opentelemetry", "opentelemetry-api: pip install '{}[otel]'"),
    ],
)
def test_a_missing_package(module: str, package: str, needs: str) -> None:
    """Without its package an adapter says what to install, in one line."""
    printed = run_alone(
        f"""
        import sys
        sys.modules["{package}"] = None  # as if it were not installed
        try:
            import serviceradar_security.metrics.{module}
        except ImportError as error:
            print(error)
        """,
    )
    needed = needs.format("serviceradar-security")
    assert printed.strip() == f"serviceradar_security.metrics.{module} needs {needed}"


def test_the_room_is_light() -> None:
    """Observers and the pure part load no metrics library, and nothing of a source."""
    printed = run_alone(
        """
        import sys
        import serviceradar_security.metrics.samples
        heavy = ("prometheus_client", "opentelemetry", "asyncio", "cryptography", "h2")
        print([each for each in sys.modules if each.split(".")[0] in heavy])
        print([each for each in sys.modules if each.startswith("serviceradar_security.workload")])
        """,
    )
    assert printed.split() == ["[]", "[]"]


@pytest.mark.parametrize("name", MODULES)
def test_all_is_what_is_offered(name: str) -> None:
    """`__all__` names what is there, once each, and classes and functions are documented."""
    module = import_module(f"serviceradar_security.{name}")
    assert len(set(module.__all__)) == len(module.__all__)
    for each in module.__all__:
        value = getattr(module, each)
        assert not callable(value) or (value.__doc__ or "").strip()
