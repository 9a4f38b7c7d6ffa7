"""Every public parameter of the room, with values of every wrong kind: ours is the error, or none."""

from __future__ import annotations

import inspect
import os
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from serviceradar_security import testing
from serviceradar_security.errors import ConfigError, SecurityError
from serviceradar_security.testing import (
    FakeAuthority,
    FakeWorkloadApi,
    IssuedCertificate,
    MtlsFiles,
    Service,
    rehearse,
)
from serviceradar_security.testing.arguments import MUTATIONS
from serviceradar_security.testing.authority import IntermediateMutations, Mutations
from tests.testing.client import Watch, connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

ID: Final = "spiffe://example.org/web"
TIMEOUT: Final = 10.0  # seconds of each command
SHORT: Final = 0.05  # seconds to wait for what does not come

WRONG: Final[dict[str, Any]] = {
    "object": object(),
    "nothing": None,
    "true": True,
    "zero": 0,
    "five": 5,
    "negative": -1,
    "fraction": 1.5,
    "nan": float("nan"),
    "infinite": float("inf"),
    "huge": 10**400,
    "complex": 1j,
    "text": "x",
    "empty text": "",
    "surrogate": "\ud800",
    "nul": "a\0b",
    "bytes": b"x",
    "list": [],
    "list of numbers": [5],
    "list of nothing": [None],
    "list of lists": [[]],
    "list of texts": ["\xe9", ""],
    "mapping": {},
    "mapping of numbers": {5: 5},
    "naive time": datetime(2030, 1, 1),  # noqa: DTZ001 - the point of it
    "early time": datetime(1, 1, 1, tzinfo=UTC),
    "late time": datetime.max.replace(tzinfo=UTC),
    "function": print,
    "class": int,
    "path": Path(os.devnull),  # no folder that a wrong call could write into
    "path out of the folder": "../x",
}
NOT_MADE_BY_USERS: Final = {"Rehearsal", "StepResult"}  # the room makes them
PASSED_ON: Final = {"MtlsFiles.block"}  # what a user gives to the configuration

AUTHORITY: Final = FakeAuthority("example.org")
ISSUED: Final = AUTHORITY.issue_certificate(ID)
SERVICE: Final = Service(start=lambda _: None, check=lambda _: None)

# What is given beside the parameter that is tried, where something must be.
NEEDED: Final[dict[str, dict[str, Any]]] = {
    "FakeAuthority": {"trust_domain": "example.org"},
    "FakeAuthority.issue": {"spiffe_id": ID},
    "FakeAuthority.issue_certificate": {"spiffe_id": ID},
    "FakeWorkloadApi": {"identities": [ID]},
    "FakeWorkloadApi.fail": {"code": "UNAVAILABLE"},
    "FakeWorkloadApi.wait_requests": {"number": 0, "timeout": SHORT},
    "MtlsFiles": {
        "cert_file": "a.pem",
        "key_file": "a-key.pem",
        "ca_file": "root.pem",
        "names": ("localhost",),
    },
    "IssuedCertificate": {"chain": ISSUED.chain, "key": ISSUED.key},
    "Service": {"start": print, "check": print},
    "rehearse": {"service": SERVICE, "steps": ["start"], "timeout": 5.0, "hold": 0.0},
}


def _functions() -> Iterator[tuple[str, Callable[..., object]]]:
    """Give what the room offers, by name: functions, classes, and their public methods."""
    for name in sorted(set(testing.__all__) - NOT_MADE_BY_USERS):
        offered = getattr(testing, name)
        yield name, offered
        for method in sorted(vars(offered) if inspect.isclass(offered) else ()):
            if not method.startswith("_") and inspect.isroutine(getattr(offered, method)):
                yield f"{name}.{method}", getattr(offered, method)


def _parameters() -> Iterator[tuple[str, str]]:
    """Give each parameter of each of them; those behind ``**mutations`` one by one."""
    for name, function in _functions():
        if name.startswith("Service.") or name in PASSED_ON:
            continue  # what a user gave
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                yield from ((name, mutation) for mutation in MUTATIONS)
            elif parameter.name != "self":
                yield name, parameter.name


PARAMETERS: Final = list(dict.fromkeys(_parameters()))


def _forms(parameter: str, value: Any) -> Iterator[Any]:
    """Give a value as it is, and inside of what the parameter holds."""
    yield value
    if parameter == "identities":
        yield [(ID, value)]  # as a hint
        yield [ID, (value, "hint")]


class Bench(ExitStack):
    """An authority, a running Workload API with one open stream, and files; with their state."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.authority = FakeAuthority("example.org")
        self.api = FakeWorkloadApi([ID], authority=self.authority, timeout=TIMEOUT)
        self.folder = folder
        self.stream: Watch | None = None

    def __enter__(self) -> Self:
        self.enter_context(self.api)
        self.files = MtlsFiles.write(self.folder)
        return super().__enter__()

    def ready(self) -> None:
        """End what the calls before have done, and open a stream."""
        self.api.start()
        self.api.allow()
        self.api.set_identities([ID])
        if self.stream is not None:
            self.stream.cancel()
        self.stream = Watch(self._channel)
        self.stream.next()

    @cached_property
    def _channel(self) -> grpc.Channel:
        return self.enter_context(connected(self.api))

    def call(self, function: str, **arguments: object) -> object:
        """Call one of the room's functions; all but what is tried is good."""
        given = {**NEEDED.get(function, {}), **arguments}
        owner, _, method = function.partition(".")
        if not method:
            if owner == "MtlsFiles":
                given.setdefault("_authority", self.files._authority)
            return getattr(testing, owner)(**given)
        if owner == "MtlsFiles":
            first = [given.pop("folder", self.folder)] if method == "write" else []
            hosts = [given.pop("names")] if "names" in given else []
            return getattr(self.files, method)(*first, *hosts, **given)
        on: dict[str, object] = {"FakeAuthority": self.authority, "FakeWorkloadApi": self.api}
        return getattr(on[owner], method)(**given)

    def state(self) -> tuple[object, ...]:
        """Give what a refused call must leave as it was."""
        return (
            self.authority.bundle,
            self.api.svids,
            self.api.endpoint,
            self.api._answer,
            self.api._pace,
            self.api._offer,
            self.api._listener.running,
            self.files,
            {path: path.read_bytes() for path in self.folder.iterdir()},
        )


def _refusal(call: Callable[[], object]) -> str:
    """Give the words with which a call is refused by an error of ours; empty if it is not."""
    try:
        call()
    except SecurityError as error:
        return str(error)
    return ""


def _inside(folder: Path) -> bool:
    """Tell whether nothing was written beside a folder."""
    return list(folder.parent.iterdir()) == [folder]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is alone in another one."""
    made = tmp_path / "alone"
    made.mkdir()
    return made


def test_the_matrix_is_whole() -> None:
    """Each mutation that the types know is checked, and no other."""
    assert set(MUTATIONS) == set(Mutations.__annotations__) | {"ttl", "not_after"}
    signature = set(inspect.signature(FakeAuthority.issue_certificate).parameters)
    assert signature - {"self", "spiffe_id"} == set(MUTATIONS)
    assert len(PARAMETERS) > 100


@pytest.mark.parametrize(
    ("function", "parameter"),
    [pytest.param(*each, id="-".join(each)) for each in PARAMETERS],
)
def test_a_parameter(
    function: str,
    parameter: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No value of it gives a foreign error; what is refused has changed nothing, in one line."""
    monkeypatch.chdir(folder)
    with Bench(folder) as bench:
        for kind, value in WRONG.items():
            for form in _forms(parameter, value):
                bench.ready()
                before = bench.state()
                told = _refusal(partial(bench.call, function, **{parameter: form}))
                waited = "within" in told
                assert not told or waited or bench.state() == before, kind
                assert "\n" not in told, kind
                assert told or kind != "object", "nothing takes just anything"
                assert _inside(folder), kind


@pytest.mark.parametrize("name", IntermediateMutations.__annotations__)
def test_a_mutation_of_intermediates(name: str) -> None:
    """Those of intermediates are as safe."""
    for kind, value in WRONG.items():
        change: Any = {name: value}
        told = _refusal(
            partial(AUTHORITY.issue_certificate, ID, intermediates=1, intermediate=change)
        )
        assert "\n" not in told, kind
        assert told or kind != "object", "nothing takes just anything"


@pytest.mark.parametrize(
    "mutations",
    [
        {"not_a_mutation": 1},
        {"intermediate": {"not_a_mutation": 1}},
        {"common_name": "x" * 65},
        {"dns_names": ["\xe9"]},
        {"ca": False, "path_length": 1},
        {"key_usage": ["digital_signature", "encipher_only"]},
        {"extensions": [(ISSUED.leaf.extensions[0].value, True)] * 2},
        {"not_before": datetime(1900, 1, 1, tzinfo=UTC)},
        {"intermediates": 1001},
    ],
    ids="-".join,
)
def test_what_no_certificate_can_be(mutations: dict[str, Any], folder: Path) -> None:
    """What the makers of certificates refuse is an error of ours, and nothing is sent."""
    with Bench(folder) as bench:
        bench.ready()
        before = bench.state()
        with pytest.raises(ConfigError):
            bench.api.rotate(**mutations)
        with pytest.raises(ConfigError):
            bench.authority.issue(ID, **mutations)
        assert bench.state() == before


@pytest.mark.parametrize(
    "identities",
    [
        [ID, "spiffe://example.org"],
        [ID, "no ID"],
        [ID, 5],
        [ID, (ID, 5)],
        [ID, (ID,)],
        5,
        None,
        {ID: ID},
        b"x",
    ],
    ids=str,
)
def test_identities_are_set_whole_or_not_at_all(identities: Any, folder: Path) -> None:
    """One that cannot be served keeps the others from being served, too."""
    with Bench(folder) as bench:
        bench.ready()
        bench.api.redact(ID)
        before = bench.state()
        with pytest.raises(SecurityError):
            bench.api.set_identities(identities)
        assert bench.state() == before
        assert repr(bench.api).startswith(f"FakeWorkloadApi([{ID}],")


@pytest.mark.parametrize("clock", [lambda: None, lambda: 5, lambda: datetime(2030, 1, 1)])  # noqa: DTZ001 - the point of it
def test_a_clock_that_is_none(clock: Any) -> None:
    """A clock that gives no moment is refused where it is asked."""
    with pytest.raises(ConfigError, match="gives no datetime with a time zone"):
        FakeAuthority("example.org", now=clock)


def test_no_service() -> None:
    """A rehearsal takes a `Service`, and says so."""
    given: Any = print
    with pytest.raises(ConfigError, match=r"a service is given as Service\(\.\.\.\), not"):
        rehearse(given)


def test_no_chain() -> None:
    """A certificate that was issued has a chain of one at least."""
    with pytest.raises(ConfigError, match="at least one"):
        IssuedCertificate([], ISSUED.key)
