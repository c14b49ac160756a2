"""What an SMTP reply means: a table from step, code and enhanced status to kind and scope.

The code's first digit says whether it may heal (RFC 5321 §4.2.1); the step says whose fault it is,
unless the enhanced status (RFC 3463) knows better. Two decisions run through the table:

- A sender's address that is refused is the *message's* fault. An application that puts its visitors'
  addresses into ``sender`` would otherwise stop the whole transport with one letter. Only what says
  that the login is missing, wrong or blocked is the *account's*: that fails for every letter, so they
  wait for the cure instead of dying one by one.
- A refused recipient is the *recipient's* fault, "relay access denied" included: a server inside a
  company takes its own domains and no others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from .outcomes import Kind, Outcome, Phase, Scope


class Step(StrEnum):
    """What the server was replying to."""

    GREETING = "greeting"
    HELLO = "hello"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"  # the final dot


_OPENING = (Step.GREETING, Step.HELLO, Step.STARTTLS)
_LETTER = (Step.MAIL, Step.RCPT, Step.DATA, Step.CONTENT)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row.

    :param pattern: the beginning of code and enhanced status with a space between them.
    """

    steps: tuple[Step, ...]
    pattern: str
    kind: Kind
    scope: Scope


#: The first row that fits decides.
_TABLE = (
    # RFC 5321 §3.8: the server is going away, whatever it was asked.
    _Row(tuple(Step), r"421", Kind.DEFERRED, Scope.TRANSPORT),
    # RFC 4954 §6: 454 says nothing against the password.
    _Row((Step.AUTH,), r"4", Kind.DEFERRED, Scope.TRANSPORT),
    _Row((Step.AUTH,), r"", Kind.REFUSED, Scope.ACCOUNT),
    _Row(_OPENING, r"4", Kind.DEFERRED, Scope.TRANSPORT),
    _Row(_OPENING, r"", Kind.REFUSED, Scope.TRANSPORT),
    # RFC 4954 §6 and IANA's statuses: a login is wanted, or this one is wrong, weak or disabled.
    _Row(_LETTER, r"53[0458]|5.. 5\.7\.(8|9|1[1-4])$", Kind.REFUSED, Scope.ACCOUNT),
    # Exchange Online: not logged in; spam, a banned sender, too much from the tenant; a banned host.
    # https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online
    _Row(_LETTER, r"5.. 5\.7\.(57|139|50[1-3]|70[58])$", Kind.REFUSED, Scope.ACCOUNT),
    # Gmail: the day's quota is used up. https://support.google.com/a/answer/3726730
    _Row(_LETTER, r"550 5\.4\.5$", Kind.REFUSED, Scope.ACCOUNT),
    _Row(_LETTER, r"5.. 5\.3\.4$", Kind.REFUSED, Scope.MESSAGE),
    # RFC 5321 §4.5.3.1.10: old servers say 552 where they mean 452, too many recipients at once.
    _Row((Step.RCPT,), r"552 (5\.5\.3)?$", Kind.DEFERRED, Scope.RECIPIENT),
    _Row((Step.RCPT,), r"4", Kind.DEFERRED, Scope.RECIPIENT),
    _Row((Step.RCPT,), r"", Kind.REFUSED, Scope.RECIPIENT),
    # A bad sequence of commands: the two ends are out of step, the letter has no part in it.
    _Row((Step.MAIL, Step.DATA), r"503", Kind.DEFERRED, Scope.TRANSPORT),
    # RFC 3463 §3.4, §3.5: the mail system or its network; an error in processing, no storage left.
    _Row((Step.MAIL, Step.DATA), r"4.. 4\.[34]\.|45[12] $", Kind.DEFERRED, Scope.TRANSPORT),
    _Row(_LETTER, r"4", Kind.DEFERRED, Scope.MESSAGE),
    _Row(_LETTER, r"", Kind.REFUSED, Scope.MESSAGE),
)

_ROWS = {
    step: [
        (re.compile(row.pattern).match, row.kind, row.scope) for row in _TABLE if step in row.steps
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
    status = f"{code} {enhanced}"
    kind, scope = next((kind, scope) for fits, kind, scope in _ROWS[step] if fits(status))
    wait = retry_after(text) if kind is Kind.DEFERRED else None
    return Outcome(kind, scope, phase, code, enhanced, text, retry_after=wait)


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
