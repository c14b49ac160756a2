"""Each payload in each place of a message: refused with the field named, or made harmless in the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_outbox.errors import MessageError
from flask_outbox.mail.mime import compose
from flask_outbox.mail.seal import SealDefaults, seal

from .corpus import BREAKS, STRANGER, corpus
from .oracle import findings
from .places import ID, PLACES, Place, few_places

CORPUS = corpus(ID)

#: Enough to find a fault in time, in a suite that runs often.
modest = settings(max_examples=400, deadline=None)


def smuggled(place: Place, payload: str) -> list[str]:
    """What got through in that place, or what is wrong with how it was refused."""
    try:
        message = place.message(payload)
        letter = seal(message, id=ID, now=1_751_366_357.0, defaults=SealDefaults())
    except MessageError as error:
        return [] if error.field == place.field else [f"the error names {error.field!r}"]
    found = findings(compose(letter), place.asked(payload))
    if len(letter.envelope_to) > 3:
        found.append(f"{len(letter.envelope_to)} recipients")
    if STRANGER in (letter.envelope_from, *letter.envelope_to) and not place.whole:
        found.append("the stranger is in the envelope")
    return found


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_nothing_is_smuggled_in(place: Place) -> None:
    found = {name: smuggled(place, payload) for name, payload in CORPUS.items()}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize("place", few_places(), ids=lambda place: place.name)
def test_nothing_is_smuggled_into_what_is_shown(place: Place) -> None:
    """``as_bytes`` takes line ends out of addresses, as Flask-Mail's does, where sending refuses them."""
    found = {}
    for name, payload in CORPUS.items():
        try:
            content = place.message(payload).as_bytes()
        except MessageError:
            continue
        if what := findings(content, place.asked(payload)):
            found[name] = what
    assert found == {}


_fragments = st.lists(
    st.one_of(
        st.sampled_from([*CORPUS.values(), *BREAKS.values()]),
        st.sampled_from(
            ["=?utf-8?q?", "=?utf-8?b?", "?=", "=0D=0A", "%0D%0A", "DQo=", "*0*=", "''"]
        ),
        st.sampled_from(
            ["<", ">", '"', "\\", ";", ",", ":", "@", "=", " ", "\t", STRANGER, "Bcc: "]
        ),
        st.text(max_size=8),
    ),
    max_size=6,
).map("".join)


@given(st.sampled_from(PLACES), _fragments)
@modest
def test_nothing_is_smuggled_in_by_a_mixture(place: Place, payload: str) -> None:
    assert smuggled(place, payload) == []
