"""What an SMTP reply means: :mod:`.reply_table` looked up, and what its text tells besides."""

from __future__ import annotations

import re

from .outcomes import Kind, Outcome, Phase, Scope
from .reply_table import TABLE, Row, Step

__all__ = ["Step", "fitting", "one_line", "outcome", "retry_after"]

_ROWS = {
    step: [
        (
            re.compile(row.pattern).match,
            re.compile(row.words, re.IGNORECASE).search if row.words else None,
            row,
        )
        for row in TABLE
        if step in row.steps
    ]
    for step in Step
}

#: Longer than any reply that a person reads; a server could send a megabyte.
_MAX_TEXT = 500

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

# "Greylisted for 300 seconds", "please try again in 5 minutes", "come back in 00:09:00"
_WAIT = re.compile(
    r"(?:gr[ea]y|tr(?:y|ied)|retry|come\s+back|wait)\D{0,60}?"
    r"(?:(?P<hours>\d\d?):(?P<minutes>\d\d):(?P<seconds>\d\d)\b"
    r"|(?P<number>\d{1,6})\s*(?P<unit>s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?)\b)",
    re.IGNORECASE,
)
_UNITS = {"s": 1, "m": 60, "h": 3_600}

#: A server that asks for more is not taken at its word.
_MAX_WAIT = 86_400.0

# Postfix "queued as 4Zx1", Exim "OK id=1rT-…", Amazon SES "Ok 0102018f-…".
_REMOTE_ID = re.compile(
    r"(?:\bqueued as |\bid=|^Ok (?!id=)(?=\S+$))<?([\w.@:+/=-]+)", re.IGNORECASE
).search


def outcome(step: Step, code: int, enhanced: str, text: str) -> Outcome:
    """What a reply to one step means for whom it concerns.

    :param enhanced: the RFC 3463 status, or "".
    :param text: the rest of the reply, lines joined.
    """
    phase = Phase.AFTER if step is Step.CONTENT else Phase.BEFORE
    text = one_line(text)
    if code < 400:
        found = _REMOTE_ID(text)
        remote_id = found[1] if found else ""
        return Outcome(Kind.ACCEPTED, Scope.RECIPIENT, phase, code, enhanced, text, remote_id)
    row = fitting(step, code, enhanced, text)
    wait = retry_after(text) if row.kind is Kind.DEFERRED else None
    return Outcome(row.kind, row.scope, phase, code, enhanced, text, retry_after=wait, cause=step)


def fitting(step: Step, code: int, enhanced: str, text: str) -> Row:
    """The row of the table that decides about a refusal."""
    status = f"{code} {enhanced}"
    return next(
        row for fits, says, row in _ROWS[step] if fits(status) and (says is None or says(text))
    )


def retry_after(text: str) -> float | None:
    """The seconds that a reply asks to wait, as greylisting servers say it, or None."""
    found = _WAIT.search(text)
    if not found:
        return None
    if found["number"]:
        seconds = int(found["number"]) * _UNITS[found["unit"][0].lower()]
    else:
        seconds = int(found["hours"]) * 3_600 + int(found["minutes"]) * 60 + int(found["seconds"])
    return min(float(seconds), _MAX_WAIT)


def one_line(text: str) -> str:
    """A server's words, fit for a log or a page: one line, no controls, not endless."""
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    return text[:_MAX_TEXT].strip()
