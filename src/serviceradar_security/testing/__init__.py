"""Testing: an authority and a Workload API for the tests of services, on a real socket.

For: users' tests and our own. Must not touch the provider; pytest is used in the plugin alone.
Names are imported on first use: pytest's start imports this room for its plugin.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serviceradar_security.testing.authority import FakeAuthority
    from serviceradar_security.testing.certificates import IssuedCertificate
    from serviceradar_security.testing.mtls import MtlsFiles
    from serviceradar_security.testing.rehearsal import Rehearsal, Service, StepResult, rehearse
    from serviceradar_security.testing.workload_api import FakeWorkloadApi

__all__ = [
    "FakeAuthority",
    "FakeWorkloadApi",
    "IssuedCertificate",
    "MtlsFiles",
    "Rehearsal",
    "Service",
    "StepResult",
    "rehearse",
]

_HOMES = {
    "FakeAuthority": "authority",
    "FakeWorkloadApi": "workload_api",
    "IssuedCertificate": "certificates",
    "MtlsFiles": "mtls",
    "Rehearsal": "rehearsal",
    "Service": "rehearsal",
    "StepResult": "rehearsal",
    "rehearse": "rehearsal",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
