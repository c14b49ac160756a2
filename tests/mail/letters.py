"""Letters and texts for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st

from flask_outbox.mail.address import Address
from flask_outbox.mail.letter import Letter
from flask_outbox.mail.message import Message
from flask_outbox.mail.seal import SealDefaults, seal

ID = "0197f3a2c4d57e1f8a9b0c1d2e3f4a5b"
NOW = 1_751_366_357.25
DEFAULTS = SealDefaults(sender=Address("me@example.org"))

#: Enough to find a fault in time, in a suite that runs often.
modest = settings(max_examples=100, deadline=None)

_TROUBLE = [
    "ü",
    "é",
    "中",
    "文",
    "א",
    "ב",
    "ع",
    "😀",
    "👨‍👩‍👧",
    "e\u0301",
    "\u00a0",
    "\u200f",
    '"',
    "\\",
    ",",
    ";",
    ":",
    ".",
    "(",
    ")",
    "<",
    ">",
    "@",
    "[",
    "]",
    "=?",
    "?=",
    "=",
    "_",
    "?",
    " ",
    "  ",
    "\t",
    "'",
    "%",
    "*",
    "a",
    "Z",
    "0",
    "=?utf-8?q?=41?=",
    "word " * 12,
    "x" * 90,
    "ß" * 40,
]

#: What may stand in a header, much of it troublesome.
lines = st.one_of(
    st.lists(st.sampled_from(_TROUBLE), max_size=25).map("".join),
    st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=80),
)

#: Texts with any character and any line end.
texts = st.lists(
    st.one_of(
        st.sampled_from(
            [*_TROUBLE, "\n", "\r\n", "\r", "\n.\n", "From \n", " \n", "x" * 1200, "\0", "\x0c"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    ),
    max_size=30,
).map("".join)

#: Plain addresses.
addrs = st.from_regex(r"\A[a-z0-9+_]{1,12}(\.[a-z0-9]{1,5})?@[a-z]{1,12}(\.[a-z]{2,6}){0,2}\Z")


class Lazy:
    """A string that is made when it is looked at, like Flask-Babel's."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __iter__(self) -> Iterator[str]:
        return iter(self.text)

    def __len__(self) -> int:
        return len(self.text)

    def __getattr__(self, name: str) -> object:
        if name in ("text", "__setstate__"):
            raise AttributeError(name)
        return getattr(str(self), name)


def letter(
    message: Message | None = None,
    /,
    *,
    id: str = ID,
    defaults: SealDefaults = DEFAULTS,
    **fields: object,
) -> Letter:
    """A sealed message, to someone@example.org where the fields do not say."""
    if message is None:
        given = {"recipients": ["someone@example.org"], **fields}
        message = Message(**given)
    return seal(message, id=id, now=NOW, defaults=defaults)
