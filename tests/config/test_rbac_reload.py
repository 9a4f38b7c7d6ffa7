"""A reload at run time: whole or not at all, while others decide."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serviceradar_security.config.datasvc import DATASVC_METHODS
from serviceradar_security.config.rbac import Decision, RbacPolicy
from serviceradar_security.errors import ConfigError
from serviceradar_security.identity.spiffe_id import SpiffeId
from tests.config.documents import patient

NAMES = [f"spiffe://meadow.example/services/s{index}" for index in range(4)]
IDS = [SpiffeId.parse(name) for name in NAMES]
PUT = "/proto.KVService/Put"
GET = "/proto.KVService/Get"
BAD: list[Any] = [
    None,
    {},
    {"roles": None},
    {"roles": [{"identity": NAMES[3], "role": "writer"}, {"identity": NAMES[0], "role": "boss"}]},
    {"roles": [{"identity": NAMES[3], "role": "writer"}, {"identity": "spiffe://*", "role": "x"}]},
    {"roles": [{"identity": NAMES[3], "role": "writer"}, 1]},
    {"roles": [{"identity": NAMES[3], "role": role} for role in ("writer", "reader")]},
    {"roles": [{"identity": NAMES[3], "role": "writer"}], "Roles": []},
]

blocks = st.dictionaries(
    st.sampled_from(NAMES),
    st.sampled_from(["reader", "writer", "admin"]),
).map(lambda roles: {"roles": [{"identity": i, "role": r} for i, r in roles.items()]})


def block(**roles: str) -> dict[str, Any]:
    """Write a block that gives `s0`, `s1`, ... these roles."""
    entries = [
        {"identity": f"spiffe://meadow.example/services/{name}", "role": role}
        for name, role in roles.items()
    ]
    return {"roles": entries}


def policy(mapping: dict[str, Any], **options: Any) -> RbacPolicy:
    """Make a policy with the methods of datasvc."""
    return RbacPolicy.from_config(mapping, methods=DATASVC_METHODS, **options)


def state(made: RbacPolicy) -> tuple[object, ...]:
    """Give all that a policy shows and says."""
    said = [made.decide(spiffe_id, method) for spiffe_id in IDS for method in (GET, PUT)]
    return dict(made.roles), dict(made.methods), made.unmatched, made.observe_only, said


def test_reload() -> None:
    """After a reload the new roles count, all of them and no others."""
    made = policy(block(s0="reader", s1="writer"))
    seen = made.roles
    made.reload(
        {
            "roles": [
                *block(s1="reader", s2="writer")["roles"],
                {"identity": "CN=x", "role": "reader"},
            ]
        }
    )
    assert {IDS[1]: "reader", IDS[2]: "writer"} == made.roles
    assert [bool(made.decide(spiffe_id, PUT)) for spiffe_id in IDS] == [False, False, True, False]
    assert [bool(made.decide(spiffe_id, GET)) for spiffe_id in IDS] == [False, True, True, False]
    assert [each.identity for each in made.unmatched] == ["CN=x"]
    assert {IDS[0]: "reader", IDS[1]: "writer"} == seen  # what was handed out does not move


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("observe_only", [False, True])
def test_refused_reload_changes_nothing(bad: Any, observe_only: bool) -> None:
    """A block that cannot be used leaves roles, report and decisions as they were."""
    made = policy(
        {
            "roles": [
                *block(s0="reader", s1="writer")["roles"],
                {"identity": "CN=x", "role": "reader"},
            ]
        },
        observe_only=observe_only,
    )
    before = state(made)
    with pytest.raises(ConfigError):
        made.reload(bad)
    assert state(made) == before


@pytest.mark.parametrize("bad", BAD)
def test_refused_reload_is_logged(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A refused reload is one warning with the places; the error says the same."""
    made = policy(block(s0="reader"), path="a.rbac")
    caplog.clear()
    with pytest.raises(ConfigError) as caught:
        made.reload(bad)
    (record,) = caplog.records
    assert record.name == "serviceradar_security.config"
    assert record.levelno == logging.WARNING
    assert record.__dict__["event"] == "rbac_reload_refused"
    assert record.__dict__["paths"] == tuple(each.path for each in caught.value.problems)
    assert all(path.startswith("a.rbac") for path in record.__dict__["paths"])
    assert record.exc_info is None


def test_reload_is_audited(caplog: pytest.LogCaptureFixture) -> None:
    """A reload is one event of the audit, beside the warnings of any reading."""
    made = policy(block(s0="reader"))
    with caplog.at_level(logging.INFO):
        made.reload({"roles": [], "more": 1})
    events = [(each.name, each.__dict__["event"]) for each in caplog.records]
    assert events == [
        ("serviceradar_security.audit", "rbac_reloaded"),
        ("serviceradar_security.config", "rbac_members_ignored"),
        ("serviceradar_security.config", "rbac_denies_everybody"),
    ]
    assert caplog.records[0].__dict__["identities"] == 0


@patient
@given(st.lists(st.one_of(blocks, st.sampled_from(BAD)), max_size=6))
def test_any_sequence(sequence: list[Any]) -> None:
    """After any sequence of reloads a policy is as one made of the last usable block."""
    made, last = policy(block()), block()
    for each in sequence:
        if any(each is bad for bad in BAD):
            with pytest.raises(ConfigError):
                made.reload(each)
        else:
            made.reload(each)
            last = each
    assert state(made) == state(policy(last))


def test_threads_decide_while_reloading() -> None:
    """A decision that meets a reload is by the old rules or by the new ones, never by a mixture."""
    first, second = block(s0="reader", s1="writer"), block(s0="writer", s2="admin")
    asked = [(spiffe_id, method) for spiffe_id in IDS for method in (GET, PUT)]
    possible = {
        (spiffe_id, method): {policy(each).decide(spiffe_id, method) for each in (first, second)}
        for spiffe_id, method in asked
    }
    made = policy(first)
    readers = 4
    begun, done = threading.Barrier(readers + 1), threading.Event()

    def read() -> set[Decision]:
        wrong: set[Decision] = set()
        begun.wait(30)
        while not done.is_set():
            for each in asked:
                decision = made.decide(*each)
                if decision not in possible[each]:
                    wrong.add(decision)
        return wrong

    with ThreadPoolExecutor(readers) as pool:
        results = [pool.submit(read) for _ in range(readers)]
        begun.wait(30)
        try:
            for turn in range(300):
                made.reload(second if turn % 2 == 0 else first)
                with pytest.raises(ConfigError):
                    made.reload(BAD[3])
        finally:
            done.set()
        assert [each.result(30) for each in results] == [set()] * readers
    assert {IDS[0]: "reader", IDS[1]: "writer"} == made.roles
