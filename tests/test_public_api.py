"""The surface: what the root exports, what an import costs, and the family of errors."""

from __future__ import annotations

import ast
import copy
import inspect
import os
import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

import serviceradar_security
from serviceradar_security import errors
from serviceradar_security.identity.spiffe_id import SpiffeId

WORKLOAD = SpiffeId.parse("spiffe://example.org/core")
STACKS = (
    "grpc",
    "asyncio",
    "pydantic",
    "h2",
    "google.protobuf",
    "ssl",
    "socket",
    "typer",
    "OpenSSL",
)


# ---- the root ----------------------------------------------------------------------------------


def test_all_is_what_the_rooms_list() -> None:
    """`__all__` and the table of rooms name the same, each name once and in order."""
    listed = [name for names in serviceradar_security._ROOMS.values() for name in names]

    assert sorted(listed) == serviceradar_security.__all__
    assert len(set(listed)) == len(listed)


def test_the_type_checker_sees_the_same() -> None:
    """What is imported for type checkers is what is given at run time, from the same modules."""
    tree = ast.parse(inspect.getsource(serviceradar_security))
    (block,) = [each for each in tree.body if isinstance(each, ast.If)]
    seen = {
        (each.module or "").removeprefix("serviceradar_security."): tuple(
            alias.name for alias in each.names
        )
        for each in block.body
        if isinstance(each, ast.ImportFrom)
    }

    assert seen == serviceradar_security._ROOMS


def test_the_working_set_is_small() -> None:
    """The root exports 40 names at most."""
    assert len(serviceradar_security.__all__) <= 40


@pytest.mark.parametrize("name", serviceradar_security.__all__)
def test_a_name_of_the_root(name: str) -> None:
    """Each name can be imported, is that of its room, and is documented."""
    value = getattr(serviceradar_security, name)

    room = import_module(f"serviceradar_security.{serviceradar_security._HOMES[name]}")
    assert value is getattr(room, name)
    assert name in room.__all__
    assert (value.__doc__ or "").strip()


def test_what_the_root_does_not_have() -> None:
    """`dir` shows the names and no others; an unknown one is an AttributeError that names it."""
    assert sorted(dir(serviceradar_security)) == serviceradar_security.__all__
    with pytest.raises(AttributeError, match="'Spiffe'"):
        _ = serviceradar_security.Spiffe
    assert not hasattr(serviceradar_security, "SpiffeID")


# ---- what an import costs ----------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """Give the modules that a fresh process has loaded after a statement."""
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    printed = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert printed.stderr == ""
    return set(printed.stdout.split())


def test_what_a_spiffe_id_costs() -> None:
    """`SpiffeId` loads no stack, no event loop, no configuration layer, and not even cryptography."""
    loaded = loaded_by("from serviceradar_security import SpiffeId, TrustDomain, SpiffeIdError")

    assert "serviceradar_security.identity.spiffe_id" in loaded
    assert loaded.isdisjoint((*STACKS, "cryptography"))
    assert {each for each in loaded if each.startswith("serviceradar_security")} == {
        "serviceradar_security",
        "serviceradar_security.errors",
        "serviceradar_security.identity",
        "serviceradar_security.identity.spiffe_id",
    }


def test_what_identity_costs() -> None:
    """SVIDs, bundles, the verdict and the authorizers load cryptography, and no stack."""
    loaded = loaded_by(
        "from serviceradar_security import X509Svid, TrustBundle, X509Context, verify_x509_svid, "
        "authorize_id",
    )

    assert "cryptography" in loaded
    # cryptography's own `email.utils` loads `socket`
    assert loaded & set(STACKS) <= {"socket"}


# ---- errors ------------------------------------------------------------------------------------

FAMILY = {
    "SecurityError": "Exception",
    "ConfigError": "SecurityError",
    "OverlayRefusedError": "ConfigError",
    "SpiffeIdError": "SecurityError",
    "TrustBundleError": "SecurityError",
    "X509SvidError": "SecurityError",
    "WorkloadApiError": "SecurityError",
    "NoIdentityIssuedError": "WorkloadApiError",
    "SourceError": "SecurityError",
    "SourceClosedError": "SourceError",
    "SourceTimeoutError": "SourceError",
    "PeerError": "SecurityError",
    "PeerVerificationError": "PeerError",
    "PeerNotAuthorizedError": "PeerError",
}
BUILTIN = {
    "ConfigError": ValueError,
    "OverlayRefusedError": ValueError,
    "SpiffeIdError": ValueError,
    "TrustBundleError": ValueError,
    "X509SvidError": ValueError,
    "SourceTimeoutError": TimeoutError,
}
RETRYABLE = {"WorkloadApiError", "NoIdentityIssuedError", "SourceError", "SourceTimeoutError"}
PROBLEM = errors.ConfigProblem("security.mode", "is missing")
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "ConfigError": {"problems": (PROBLEM, errors.ConfigProblem("", "and more"))},
    "OverlayRefusedError": {"problems": (PROBLEM,), "paths": ("security", "a.kv_security")},
    "WorkloadApiError": {"code": "UNAVAILABLE"},
    "NoIdentityIssuedError": {"code": "PERMISSION_DENIED"},
    "PeerError": {"spiffe_id": WORKLOAD},
    "PeerVerificationError": {"spiffe_id": WORKLOAD, "reason": "expired"},
    "PeerNotAuthorizedError": {"spiffe_id": WORKLOAD},
}


def error_classes() -> dict[str, type[errors.SecurityError]]:
    """Give all classes of errors that the module has."""
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.SecurityError)
    }


def test_the_family_is_whole() -> None:
    """There are these errors and no others, and the root exports them all."""
    assert set(error_classes()) == set(FAMILY)
    assert set(FAMILY) <= set(serviceradar_security.__all__)
    assert set(FAMILY) | {"ConfigProblem", "VerificationReason"} == set(errors.__all__)


@pytest.mark.parametrize("name", FAMILY)
def test_the_place_of_an_error(name: str) -> None:
    """Each error stands under its parent, is the builtin that fits, and knows whether to retry."""
    kind = error_classes()[name]

    assert kind.__bases__[0].__name__ == FAMILY[name]
    assert issubclass(kind, errors.SecurityError)
    assert kind.retryable is (name in RETRYABLE)
    if name in BUILTIN:
        assert issubclass(kind, BUILTIN[name])
    else:
        assert not issubclass(kind, ValueError | TimeoutError | OSError)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("given", [True, False], ids=["attributes", "message alone"])
def test_an_error_survives_pickle_and_copy(name: str, given: bool) -> None:
    """Class, message and every attribute come back from a pickle and a copy."""
    attributes = ATTRIBUTES.get(name, {}) if given else {}
    error = error_classes()[name]("what, which, and what to do", **attributes)

    for again in (
        *(
            pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(again) is type(error)
        assert str(again) == "what, which, and what to do"
        assert vars(again) == vars(error)
        for attribute, value in attributes.items():
            assert getattr(again, attribute) == value


def test_attributes_without_being_given() -> None:
    """Every attribute is there, also where nothing is known."""
    assert errors.ConfigError("m").problems == (errors.ConfigProblem("", "m"),)
    assert errors.OverlayRefusedError("m").paths == ()
    assert errors.WorkloadApiError("m").code == ""
    assert errors.PeerError("m").spiffe_id is None
    assert errors.PeerVerificationError("m").reason in get_args(errors.VerificationReason)


def test_problems_may_come_from_a_generator() -> None:
    """What is given once is kept."""
    error = errors.OverlayRefusedError(
        "m",
        paths=(each for each in ["a"]),
        problems=(each for each in [PROBLEM]),
    )

    assert error.paths == ("a",)
    assert error.problems == (PROBLEM,)
    assert str(PROBLEM) == "security.mode: is missing"
    assert str(errors.ConfigProblem("", "all of it")) == "all of it"


def test_errors_import_nothing_of_ours() -> None:
    """The family stands at the bottom of the house."""
    source = Path(inspect.getfile(errors)).read_text()
    ours = [
        each
        for each in ast.parse(source).body
        if isinstance(each, ast.ImportFrom) and (each.module or "").startswith("serviceradar")
    ]

    assert ours == []
