"""Decisions: what is written and when live connections must follow, under a clock of our own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serviceradar_security.grpc.client.rotation import Standing, Step, mark_pushed, plan_step
from serviceradar_security.identity.authorities import Authorities
from serviceradar_security.identity.context import X509Context
from serviceradar_security.identity.credentials import TlsCredentials
from serviceradar_security.testing.authority import FakeAuthority

BEGIN = datetime(2026, 11, 24, 12, tzinfo=UTC)
CLIENT = "spiffe://carverauto.test/poller"


@dataclass
class Scene:
    """One slot's decisions, with an authority that lives in the same time."""

    now: datetime = BEGIN
    standing: Standing = Standing()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        self.ours = FakeAuthority("carverauto.test", now=lambda: self.now)
        self.theirs = FakeAuthority("partner.test", now=lambda: self.now)

    def context(self, *, partner: bool = True, ttl: float = 3600, **facts: Any) -> X509Context:
        bundles = [self.ours.bundle] + ([self.theirs.bundle] if partner else [])
        svid = self.ours.issue(facts.pop("spiffe_id", CLIENT), ttl=ttl, **facts)
        return X509Context(svids=[svid], bundles={each.trust_domain: each for each in bundles})

    def plan(self, found: X509Context | TlsCredentials | None, *, after: float = 0) -> Step:
        self.now += timedelta(seconds=after)
        self.standing, step = plan_step(self.standing, found, self.now)
        return step

    def settle(self, found: X509Context | TlsCredentials | None, *, after: float = 0) -> Step:
        step = self.plan(found, after=after)
        if step.push and not step.withdraw:
            self.standing = mark_pushed(self.standing)
        return step


@pytest.fixture
def scene() -> Scene:
    """A slot before its first identity."""
    return Scene()


def test_nothing_happens_before_there_is_an_identity(scene: Scene) -> None:
    """No identity at first asks for nothing: channels already point at nothing."""
    assert scene.plan(None) == Step()
    bundles_only = X509Context(svids=[], bundles={})
    assert scene.plan(bundles_only) == Step()


def test_the_first_identity_is_written_and_shown(scene: Scene) -> None:
    """Trust and identity are written, and channels are pointed at them until that is done."""
    context = scene.context()
    step = scene.plan(context)
    assert step.identity == context.default
    assert step.trust is not None
    assert step.push == "an identity is there"
    assert scene.plan(context) == Step(push="an identity is there")
    scene.standing = mark_pushed(scene.standing)
    assert scene.plan(context) == Step()


def test_an_equal_snapshot_changes_nothing(scene: Scene) -> None:
    """Another object with the same contents is not written again."""
    context = scene.context()
    scene.settle(context)
    again = X509Context(svids=context.svids, bundles=dict(context.bundles))
    assert scene.plan(again) == Step()


def test_other_authorities_of_the_same_certificate_leave_it_alone(scene: Scene) -> None:
    """A change of ca_file alone writes no key anew, and asks for no push of the certificate."""
    chain, key = scene.ours.issue_certificate(None, uris=[], ttl=3600).to_pem()
    old, both, new = (
        TlsCredentials.from_pem(
            chain, key, authorities=Authorities.from_pem(pem, name="ca_file"), at=BEGIN
        )
        for pem in (
            scene.ours.bundle.to_pem(),
            scene.ours.bundle.to_pem() + scene.theirs.bundle.to_pem(),
            scene.theirs.bundle.to_pem(),
        )
    )
    assert scene.settle(old).identity is old
    since = scene.standing.svid_since
    step = scene.settle(both, after=60)
    assert (step.trust is None, step.identity, step.push) == (False, None, "")
    assert scene.standing.svid_since == since
    assert scene.settle(both, after=3000) == Step()  # no identity was replaced that could be old
    step = scene.settle(new, after=1)
    assert (step.identity, step.push) == (None, "an authority or a trust domain was removed")
    fresh = scene.ours.issue_certificate(None, uris=[], ttl=3600).to_pem()
    other = TlsCredentials.from_pem(*fresh, authorities=new.authorities, at=BEGIN)
    assert scene.settle(other, after=1).identity is other


def test_a_plain_rotation_is_written_and_not_pushed(scene: Scene) -> None:
    """New connections get the new identity; live ones keep theirs for now."""
    scene.settle(scene.context())
    fresh = scene.context()
    step = scene.plan(fresh, after=60)
    assert step == Step(identity=fresh.default)


def test_the_old_identity_is_replaced_at_two_thirds_of_its_life(scene: Scene) -> None:
    """Only once the identity of live connections is old, and only if there is a newer one."""
    scene.settle(scene.context(ttl=3600))
    assert scene.plan(scene.standing.context, after=3000) == Step()
    fresh = scene.context()
    assert "nears its end" in scene.settle(fresh).push
    assert scene.plan(fresh) == Step()


@pytest.mark.parametrize(("at", "is_pushed"), [(2399, False), (2400, True)])
def test_two_thirds_are_counted_from_when_we_got_it(
    scene: Scene,
    at: float,
    is_pushed: bool,
) -> None:
    """A backdated begin of validity does not make a fresh identity old."""
    scene.settle(scene.context(ttl=3600, not_before=BEGIN - timedelta(hours=5)))
    fresh = scene.context(ttl=7200)
    scene.plan(fresh, after=at - 1)
    assert bool(scene.plan(fresh, after=1).push) == is_pushed


def test_an_identity_that_begins_later_is_counted_from_its_begin(scene: Scene) -> None:
    """A life begins with its validity, even if we had the identity before."""
    begin = BEGIN + timedelta(seconds=1000)
    scene.settle(scene.context(ttl=4000, not_before=begin))
    fresh = scene.context(ttl=9000)
    assert not scene.plan(fresh, after=2999).push
    assert scene.plan(fresh, after=1).push


def test_a_rotated_authority_is_pushed_with_the_first_identity_that_it_signs(scene: Scene) -> None:
    """Live connections show the new authority's identity before anybody drops the old authority."""
    scene.settle(scene.context())
    scene.ours.prepare()
    assert not scene.settle(scene.context()).push
    scene.ours.activate()
    fresh = scene.context()
    assert "authority rotates" in scene.settle(fresh).push
    assert scene.plan(fresh) == Step()


def test_the_age_that_counts_is_that_of_the_oldest_connection(scene: Scene) -> None:
    """Rotations between do not make live connections younger."""
    scene.settle(scene.context(ttl=3600))
    scene.settle(scene.context(ttl=3600), after=1000)
    assert not scene.settle(scene.context(ttl=3600), after=1000).push
    assert scene.settle(scene.context(ttl=3600), after=500).push


def test_a_removed_authority_is_pushed(scene: Scene) -> None:
    """What live connections may have been verified by is gone: they are made anew."""
    scene.ours.rotate()
    scene.settle(scene.context())
    scene.ours.revoke()
    step = scene.plan(scene.context())
    assert step.push == "an authority or a trust domain was removed"
    assert step.trust is not None


def test_an_authority_that_came_and_went_is_pushed(scene: Scene) -> None:
    """Connections made in between may rest on it, though no push named it."""
    old = scene.context()
    scene.settle(old)
    scene.ours.prepare()
    assert not scene.settle(scene.context()).push
    step = scene.plan(X509Context(svids=old.svids, bundles=dict(old.bundles)))
    assert step.push == "an authority or a trust domain was removed"


def test_an_added_authority_is_not_pushed(scene: Scene) -> None:
    """A new authority of a known domain waits for new connections."""
    scene.settle(scene.context())
    scene.ours.prepare()
    step = scene.plan(scene.context())
    assert step.trust is not None
    assert step.push == ""


def test_a_removed_trust_domain_is_pushed(scene: Scene) -> None:
    """Defederation ends live connections to the partner."""
    scene.settle(scene.context())
    assert "removed" in scene.plan(scene.context(partner=False)).push


def test_an_added_trust_domain_is_pushed(scene: Scene) -> None:
    """Channels that failed for want of the domain try again at once."""
    scene.settle(scene.context(partner=False))
    assert scene.settle(scene.context()).push == "a trust domain was added"
    assert not scene.plan(scene.standing.context).push


def test_another_spiffe_id_of_ours_is_pushed(scene: Scene) -> None:
    """The old name is not shown any longer than it takes to connect."""
    scene.settle(scene.context())
    step = scene.plan(scene.context(spiffe_id=CLIENT + "-2"))
    assert "no longer ours" in step.push


def test_a_name_that_came_and_went_is_pushed(scene: Scene) -> None:
    """Connections made under it are made anew, even if the first name is back already."""
    first = scene.context()
    scene.settle(first)
    assert scene.plan(scene.context(spiffe_id=CLIENT + "-2")).push
    assert scene.plan(scene.context(), after=1).push


def test_a_short_life_between_two_long_ones_counts(scene: Scene) -> None:
    """Connections may show any identity since the last push: the first to age decides."""
    scene.settle(scene.context(ttl=3600))
    scene.settle(scene.context(ttl=60))
    fresh = scene.context(ttl=3600)
    assert not scene.plan(fresh, after=30).push
    assert scene.plan(fresh, after=10).push


@pytest.mark.parametrize("how", ["error", "no identity", "expired"])
def test_an_identity_that_is_gone_is_withdrawn_once(scene: Scene, how: str) -> None:
    """Files become unusable and channels point at nothing, until there is an identity again."""
    context = scene.context(ttl=60)
    scene.settle(context)
    found = {
        "error": None,
        "no identity": X509Context(svids=[], bundles=dict(context.bundles)),
        "expired": context,
    }[how]
    step = scene.settle(found, after=60 if how == "expired" else 0)
    assert step.withdraw
    assert step.push
    assert scene.plan(found, after=1) == Step()
    fresh = scene.context()
    step = scene.settle(fresh)
    assert step.identity == fresh.default
    assert step.trust is not None
    assert step.push == "an identity is there"


def test_an_identity_is_used_until_its_last_second(scene: Scene) -> None:
    """Expiry is the end, not a second earlier."""
    context = scene.context(ttl=60)
    scene.settle(context)
    assert scene.plan(context, after=59) == Step()
    assert scene.plan(context, after=1).withdraw


def test_what_comes_while_a_push_waits_is_judged_after_it(scene: Scene) -> None:
    """Connections of a push may have read the files before the last change: it is not forgotten."""
    scene.ours.rotate()
    scene.settle(scene.context())
    scene.plan(scene.context(partner=False))
    scene.ours.revoke()
    assert scene.plan(scene.context(partner=False), after=1).push
    scene.standing = mark_pushed(scene.standing)
    step = scene.plan(scene.standing.context)
    assert step.push == "an authority or a trust domain was removed"
    scene.standing = mark_pushed(scene.standing)
    assert not scene.plan(scene.standing.context).push


def test_a_push_that_is_no_longer_wanted_is_forgotten(scene: Scene) -> None:
    """A domain that is back before anybody was cut off costs no push, and none later."""
    context = scene.context()
    scene.settle(context)
    assert scene.plan(scene.context(partner=False)).push
    assert not scene.plan(context).push
    assert scene.standing.wanted is None


def test_a_step_shows_no_key(scene: Scene) -> None:
    """The representation of a step names no identity, and certainly no key."""
    assert "PRIVATE" not in repr(scene.plan(scene.context()))
    assert "X509Svid" not in repr(Step(identity=scene.context().default))


class Life(RuleBasedStateMachine):
    """Any history of a slot: connections are made and live on, and never rest on what is gone."""

    @initialize()
    def begin(self) -> None:
        self.scene = Scene()
        self.found: X509Context | None = None
        # What live connections show and were verified by; they are made at any time.
        self.connections: list[X509Context] = []
        # What was written since a push is wanted that has not happened yet.
        self.window: list[X509Context] = []

    @rule(partner=st.booleans(), ttl=st.sampled_from([30, 300]))
    def rotate(self, *, partner: bool, ttl: float) -> None:
        self.found = self.scene.context(partner=partner, ttl=ttl)

    @rule(step=st.sampled_from(["prepare", "activate", "revoke"]))
    def change_authority(self, step: str) -> None:
        getattr(self.scene.ours, step)()

    @rule()
    def lose(self) -> None:
        self.found = None

    @rule(seconds=st.sampled_from([1, 10, 100]))
    def wait(self, seconds: float) -> None:
        self.scene.now += timedelta(seconds=seconds)

    @rule()
    def connect(self) -> None:
        written = self.scene.standing.context
        if isinstance(written, X509Context) and self.scene.standing.live is not None:
            self.connections.append(written)

    @rule(is_named=st.booleans())
    def tick(self, *, is_named: bool) -> None:
        """Take a step; a push that is wanted happens now, or its lane cannot be named yet."""
        step = self.scene.plan(self.found)
        written = self.scene.standing.context
        now = self.scene.now
        is_usable = self.found is not None and self.found.default.not_after > now
        assert (written is not None) == is_usable
        if step.withdraw:
            self.connections.clear()
        if step.withdraw or not step.push or not isinstance(written, X509Context):
            self.window.clear()
        else:
            # Core may have read whatever was written since the push was wanted.
            self.window.append(written)
        if step.push and is_named and not step.withdraw:
            self.scene.standing = mark_pushed(self.scene.standing)
            self.connections = list(self.window)
            self.window.clear()
        if not step.push:
            for each in self.connections:
                self.check(each)

    def check(self, connection: X509Context) -> None:
        """Where no push is wanted, no connection rests on what is gone."""
        assert self.found is not None
        known = {der for bundle in self.found.bundles.values() for der in bundle.der}
        assert {der for bundle in connection.bundles.values() for der in bundle.der} <= known
        old = connection.default
        assert old == self.found.default or old.not_after > self.scene.now

    @invariant()
    def what_is_written_is_whole(self) -> None:
        standing = self.scene.standing
        assert (standing.svid is None) == (standing.context is None)
        assert standing.svid is not None or standing.live is None


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
