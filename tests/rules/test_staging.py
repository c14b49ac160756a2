"""Whom mail may reach where it is not meant for everyone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.rules.staging import Staging, pattern

addresses = st.builds(
    lambda local, domain: f"{local}@{domain}",
    st.text("abcXYZ.+*@\"' é", min_size=1, max_size=8),
    st.sampled_from(["corp.org", "CORP.org", "evil.org", "eu.corp.org", "evilcorp.org"]),
)
recipients = st.lists(addresses, min_size=1, max_size=5, unique=True)
some_patterns = st.lists(
    st.sampled_from(["*@corp.org", "*@*.corp.org", "a@corp.org", "x*@evil.org"]),
    min_size=1,
    unique=True,
)
patterns = some_patterns | st.just([])
some_aims = st.sampled_from([["dev@corp.org"], ["dev@team.org"], ["dev@corp.org", "a@corp.org"]])
aims = some_aims | st.just([])


@given(recipients)
def test_nothing_set_changes_nothing(to: list[str]) -> None:
    staging = Staging()
    assert (bool(staging), staging.envelope(to), staging.objection(to)) == (False, tuple(to), "")


@given(recipients, some_aims)
def test_a_redirection_alone_gets_everything_and_nobody_else_anything(
    to: list[str], aim: list[str]
) -> None:
    staging = Staging(redirect_to=tuple(aim))
    assert (staging.envelope(to), staging.objection(to)) == (tuple(aim), "")


@given(recipients, some_patterns)
def test_without_a_redirection_a_letter_goes_out_whole_or_not_at_all(
    to: list[str], allowed: list[str]
) -> None:
    staging = Staging(allowed=tuple(allowed))
    assert staging.envelope(to) == tuple(to)
    assert bool(staging.objection(to)) == (not all(map(staging.allows, to)))


@given(recipients, patterns, aims)
def test_nothing_reaches_whom_nobody_named(
    to: list[str], allowed: list[str], aim: list[str]
) -> None:
    staging = Staging(tuple(aim), tuple(allowed))
    if staging and not staging.objection(to):
        reached = staging.envelope(to)
        assert reached
        assert all(address in aim or staging.allows(address) for address in reached)
        assert len(set(reached)) == len(reached)


@given(recipients, some_patterns, some_aims)
def test_with_both_the_allowed_get_their_mail_and_the_redirection_that_of_the_others(
    to: list[str], allowed: list[str], aim: list[str]
) -> None:
    staging = Staging(tuple(aim), tuple(allowed))
    reached = staging.envelope(to)
    assert {address for address in to if staging.allows(address)} <= set(reached)
    assert set(aim) <= set(reached) or all(map(staging.allows, to))


@pytest.mark.parametrize(
    ("written", "address", "allowed"),
    [
        ("qa@corp.org", "qa@corp.org", True),
        ("qa@corp.org", "QA@Corp.Org", True),
        ("qa@corp.org", "a@corp.org", False),
        ("@corp.org", "anyone@corp.org", True),
        ("*@corp.org", "anyone@CORP.org", True),
        ("corp.org", "anyone@corp.org", True),
        ("@corp.org", "anyone@eu.corp.org", False),
        ("@corp.org", "anyone@evilcorp.org", False),
        ("@corp.org", "anyone@corp.org.evil.org", False),
        ("@corp.org", '"x@corp.org"@evil.org', False),
        ("*.corp.org", "anyone@eu.corp.org", True),
        ("*@*.corp.org", "anyone@a.b.corp.org", True),
        ("*@*.corp.org", "anyone@corp.org", False),
        ("qa+*@corp.org", "qa+17@corp.org", True),
        ("qa+*@corp.org", "qax@corp.org", False),
        ("q.a@corp.org", "qxa@corp.org", False),
        ("*", "anyone@anywhere.org", True),
        ("@[127.0.0.1]", "root@[127.0.0.1]", True),
    ],
)
def test_what_a_pattern_allows(written: str, address: str, allowed: bool) -> None:
    assert Staging(allowed=(pattern(written),)).allows(address) is allowed


@pytest.mark.parametrize(
    "written", ["", "a@", "a b@corp.org", "a@b@corp.org", "a@b,c@d", "a@co rp.org", "a\n@b.org"]
)
def test_what_is_no_pattern_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="not an address or a pattern"):
        pattern(written)


def test_the_objection_names_one_and_counts_the_others() -> None:
    staging = Staging(allowed=("*@corp.org",))
    assert staging.objection(["a@corp.org", "b@x.org", "c@x.org"]) == (
        "MAIL_ALLOWED_RECIPIENTS does not allow b@x.org and 1 more"
    )
