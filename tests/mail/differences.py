"""Where our bytes are read otherwise than those of the ``email`` package, or than they were written: all of it, with
the reasons. Some are faults of that package, which a later Python may have mended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """One thing that a reader is shown.

    :param where: ``"Subject"``, or ``"content 1"`` for that of the second part.
    :param said: what the caller said.
    :param ours: what is read in our bytes.
    :param theirs: what is read in those of the ``email`` package.
    """

    where: str
    said: object
    ours: object
    theirs: object


@dataclass(frozen=True)
class Difference:
    """One reason.

    :param covers: whether it explains a fact.
    :param example: fields of a message that shows it.
    """

    reason: str
    covers: Callable[[Fact], bool]
    example: dict[str, object]


def _line_end_added(fact: Fact) -> bool:
    return (
        fact.where.startswith("content") and _ended(fact.ours) == _ended(fact.said) == fact.theirs
    )


def _ended(content: object) -> object:
    return (
        content + b"\r\n"
        if isinstance(content, bytes) and not content.endswith(b"\r\n")
        else content
    )


def _decoded_by_theirs(fact: Fact) -> bool:
    return "=?" in str(fact.said) and _alike(fact.ours, fact.said)


def _encoded_by_the_caller(fact: Fact) -> bool:
    return fact.where.startswith("X-") and "=?" in str(fact.said) and str(fact.said).isascii()


def _spaces_of_a_name(fact: Fact) -> bool:
    return (
        fact.where in _ADDRESSES and _alike(fact.ours, fact.said) and _alike(fact.theirs, fact.said)
    )


def _space_added_by_theirs(fact: Fact) -> bool:
    return fact.ours == fact.said and _alike(fact.theirs, fact.said)


def _mailbox_lost_by_theirs(fact: Fact) -> bool:
    return (
        fact.where in _ADDRESSES
        and _alike(fact.ours, fact.said)
        and not _alike(fact.theirs, fact.said)
    )


def _alike(read: object, said: object) -> bool:
    """The same but for white space."""
    return _spaceless(read) == _spaceless(said)


def _spaceless(value: object) -> object:
    if isinstance(value, str):
        return "".join(value.split())
    return [_spaceless(item) for item in value] if isinstance(value, list | tuple) else value


_ADDRESSES = ("To", "Cc")

DIFFERENCES = (
    Difference(
        "email ends every text with a line end; ours ends as the caller's does, and a message ends with one.",
        _line_end_added,
        {"body": "text", "html": "<p>html"},
    ),
    Difference(
        "What looks like an encoded word is text for us and encoded; email leaves it, and it is read as another text.",
        _decoded_by_theirs,
        {"subject": "ü =?utf-8?q?=41?=", "recipients": [("=?utf-8?q?=41?=", "a@b.org")]},
    ),
    Difference(
        "But in extra headers of ASCII it is left alone: callers encode those by themselves.",
        _encoded_by_the_caller,
        {"extra_headers": {"X-One": "=?utf-8?q?=41?="}},
    ),
    Difference(
        "email reads white space in a name as one space, and puts one between two encoded words.",
        _spaces_of_a_name,
        {"recipients": [("ß" * 40, "a@b.org"), ("> \xa0<", "c@d.org")]},
    ),
    Difference(
        "email folds twice before an encoded word, which is read as two spaces.",
        _space_added_by_theirs,
        {"subject": "word " * 13 + "ü", "extra_headers": {"X-One": "word " * 13 + "ü"}},
    ),
    Difference(
        "email encodes the comma between two mailboxes where it folds there, and loses the second.",
        _mailbox_lost_by_theirs,
        {"recipients": [("👨‍👩‍👧ZZ", "ohwqdv7z6m82@avjasvb"), "0@a.pa.aa", ("üüüü", "0@a.aavjoj")]},
    ),
)
