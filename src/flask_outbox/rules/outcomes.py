"""What one try gave: a :class:`Report` with one :class:`Outcome` per recipient.

Kind says what happened, scope whose fault it was, phase whether the content may already be with the server.
The three together decide everything that follows (:mod:`flask_outbox.rules.retry`); nothing else is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What happened to one recipient."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"  # may heal: try again
    REFUSED = "refused"  # will not heal by itself
    UNKNOWN = "unknown"  # the content was sent, the answer is lost: it may have been accepted


class Scope(StrEnum):
    """Whose fault it was, and so what else is touched by it."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    ACCOUNT = (
        "account"  # a wrong password, a sender not allowed: every message of the transport fails
    )
    TRANSPORT = "transport"  # the road's fault: another road may do


class Phase(StrEnum):
    """Whether the final dot (or the HTTP request) had been written."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one try meant for one recipient.

    :param code: the SMTP reply code or the HTTP status; 0 where there was no reply.
    :param enhanced: the RFC 3463 status, ``"5.1.1"``, or ``""``.
    :param text: the reply's text in one line, or what went wrong on the way.
    :param remote_id: the id under which the other side knows the message, or ``""``.
    :param retry_after: seconds the other side asked to wait.
    :param left_out: what was asked for and could not be passed on, like options for a server without DSN.
    :param cause: the SMTP step that was refused, or what Python calls what the network did; for the exceptions of
        the immediate engine alone.
    """

    kind: Kind
    scope: Scope = Scope.RECIPIENT
    phase: Phase = Phase.BEFORE
    code: int = 0
    enhanced: str = ""
    text: str = ""
    remote_id: str = ""
    retry_after: float | None = None
    left_out: tuple[str, ...] = ()
    cause: str = field(default="", compare=False, repr=False)

    @property
    def accepted(self) -> bool:
        return self.kind is Kind.ACCEPTED

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.code or ""), self.enhanced, self.text))) or self.kind


@dataclass(frozen=True, slots=True)
class Report:
    """One try: each recipient it was meant for, with its outcome. Empty: nothing was tried.

    :param transport: the name of the transport that tried; the courier fills it in.
    :param transcript: what was said on the way where someone did not get it, without secrets and contents; for people.
    """

    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    transport: str = ""
    transcript: str = field(default="", compare=False, repr=False)

    @classmethod
    def of(cls, recipients: Iterable[str], outcome: Outcome) -> Report:
        """The same outcome for everyone."""
        return cls(dict.fromkeys(recipients, outcome))

    def __iter__(self) -> Iterator[tuple[str, Outcome]]:
        return iter(self.outcomes.items())

    def __bool__(self) -> bool:
        return bool(self.outcomes)

    @property
    def all_accepted(self) -> bool:
        return bool(self.outcomes) and all(o.accepted for o in self.outcomes.values())
