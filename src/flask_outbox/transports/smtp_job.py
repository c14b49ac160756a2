"""A letter on its way through a pool: made ready for the wire, and settled exactly once."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from ..mail.content import LARGE, Composed, Content
from ..mail.letter import Letter
from ..mail.mime import needs_smtputf8
from ..rules.outcomes import Kind, Outcome, Report, Scope
from ..rules.replies import Step
from .base import Clearance
from .smtp_protocol import Envelope, Reply, SmtpProtocol, mend, stuffed
from .smtp_states import Command
from .smtp_transcript import Note, written

#: RFC 5321 §4.5.3.1.10: 452 says that no more recipients fit into the transaction, and old servers say 552.
_CROWDED = (452, 552)

_RCPTMAX = re.compile(r"\bRCPTMAX=(\d{1,6})(?!\d)", re.IGNORECASE).search

#: What smtplib raises where the server lacks what a letter needs.
_UNSUPPORTED = "SMTPNotSupportedError"

_LATER = Outcome(
    Kind.DEFERRED, enhanced="4.5.3", text="too many recipients at once, the others come later"
)


class Job:
    """A letter that waits for a connection, or is on one.

    Recipients that are too many for one transaction of the server get a further one, in the same try. Until then
    their outcome is that they come later.

    :raises MessageError: an address that does not fit into an SMTP command.
    """

    __slots__ = (
        "_crowded",
        "_left_out",
        "_rest",
        "_unheard",
        "answered",
        "clearance",
        "content",
        "envelope",
        "letter",
        "notes",
        "outcomes",
        "report",
        "retried",
        "to",
        "urgent",
    )

    def __init__(
        self,
        letter: Letter,
        to: tuple[str, ...],
        clearance: Clearance,
        compose: Callable[[Letter], Composed],
    ) -> None:
        self.letter = letter
        self.to = to
        self.clearance = clearance
        self.urgent = clearance.urgent
        content = _mended(compose(letter))
        #: As it follows DATA, without the dot that ends it; the pieces of a large one are still to be stuffed.
        self.content: Composed = stuffed(content) if isinstance(content, bytes) else content
        self.envelope = Envelope(
            letter.envelope_from,
            to,
            size=len(content),
            eight_bit=not content.isascii(),
            utf8=needs_smtputf8(letter, to),
            mail_options=letter.mail_options,
            rcpt_options=letter.rcpt_options,
        )
        #: What was said of it, for its transcript.
        self.notes: list[Note] = []
        #: What is settled already, by recipient.
        self.outcomes: dict[str, Outcome] = {}
        self._rest: list[str] = []  # those for a further transaction
        self._crowded = 0  # how many of them this transaction turned away
        self._unheard: deque[str] = deque()  # with LMTP, those whose verdict is to come
        self._left_out: tuple[str, ...] = ()
        #: Whether the server has replied to its envelope.
        self.answered = False
        #: Whether this is its second chance.
        self.retried = False
        self.report: asyncio.Future[Report] = asyncio.get_running_loop().create_future()

    @property
    def wanted(self) -> bool:
        """Whether it may still be begun."""
        return not self.report.done() and self.clearance.valid()

    @property
    def open(self) -> bool:
        """Whether anyone could still get it in this transaction."""
        return len(self.outcomes) < len(self.to)

    def hear(self, step: Step, reply: Reply, recipient: str = "") -> None:
        """Note what the server said to one step of this letter."""
        self.answered = True
        if step is Step.CONTENT:
            self._hear_verdict(reply)
        elif reply.code < 400:
            return
        elif step is Step.RCPT:
            self._refuse(recipient, reply.meaning(step))
        elif self.open:
            self.finish(reply.meaning(step))

    def _refuse(self, recipient: str, outcome: Outcome) -> None:
        self.outcomes[recipient] = outcome
        # X.5.3: too many recipients (RFC 3463 §3.6).
        if outcome.enhanced[2:] == "5.3" or (outcome.code in _CROWDED and not outcome.enhanced):
            self._rest.append(recipient)
            self._crowded += 1
        self._end_if_over()

    def _hear_verdict(self, reply: Reply) -> None:
        """What the server says to the content: to all recipients at once or, with LMTP, to the next one."""
        outcome = reply.meaning(Step.CONTENT)
        if self._left_out and outcome.accepted:
            text = f"{outcome.text} (left out, the server takes none: {' '.join(self._left_out)})"
            outcome = replace(outcome, text=text, left_out=self._left_out)
        if reply.command is Command.VERDICT:
            self._hear_next(outcome)
        elif self._rest and outcome.accepted:
            self.outcomes |= dict.fromkeys(self._accepted(), outcome)
        elif self.open:
            self.finish(outcome)

    def _hear_next(self, outcome: Outcome) -> None:
        """One recipient's verdict: they come in the order of the recipients (RFC 2033 §4.2)."""
        if not self._unheard:
            self._unheard.extend(self._accepted())
        scope = Scope.RECIPIENT if outcome.scope is Scope.MESSAGE else outcome.scope
        self.outcomes[self._unheard.popleft()] = replace(outcome, scope=scope)
        self._end_if_over()

    def _end_if_over(self) -> None:
        if not (self.open or self._rest):
            self._settle({to: self.outcomes[to] for to in self.to})

    def _accepted(self) -> list[str]:
        """Whom the server took in this transaction."""
        return [to for to in self.envelope.recipients if to not in self.outcomes]

    def advance(self) -> bool:
        """Make it ready for those that were too many for the transaction before; False: there are none."""
        if self.report.done() or not self._rest:
            return False
        share = len(self.envelope.recipients) - self._crowded
        if share == 0:  # their number is not what it is about
            self._rest.clear()
            self._end_if_over()
            return False
        following, self._rest = self._rest[:share], self._rest[share:]
        for to in following:
            del self.outcomes[to]
        self.envelope = replace(self.envelope, recipients=tuple(following))
        self.answered = self.retried = False
        self._crowded = 0
        self._unheard.clear()
        return True

    def finish(self, outcome: Outcome) -> None:
        """The end, for everyone who has no outcome yet."""
        self._settle(dict.fromkeys(self.to, outcome) | self.outcomes)

    def _settle(self, outcomes: Mapping[str, Outcome]) -> None:
        if self.report.done():
            return
        for outcome in outcomes.values():
            if not outcome.accepted:
                self.report.set_result(Report(outcomes, transcript=written(self.notes, outcome)))
                return
        self.report.set_result(Report(outcomes))

    def withdraw(self) -> None:
        """The end, with nothing tried, or no more than was."""
        if any(outcome.accepted for outcome in self.outcomes.values()):
            self.finish(_LATER)
        elif not self.report.done():
            self.report.set_result(Report())

    def fail(self, error: Exception) -> None:
        """The end by a bug, which belongs to whoever waits."""
        if not self.report.done():
            self.report.set_exception(error)

    def adapt(self, protocol: SmtpProtocol) -> bool:
        """Fit it to what the server announced; False when nothing remains to be sent."""
        capabilities, envelope = protocol.capabilities, self.envelope
        limit = capabilities.get("SIZE", "")
        if limit.isdigit() and 0 < int(limit) < envelope.size:
            text = f"the letter has {envelope.size} bytes, the server takes {limit}"
            self._reject("5.3.4", text, cause="mail")
        elif envelope.utf8 and "SMTPUTF8" not in capabilities:
            self._without_utf8()
        elif envelope.eight_bit and not capabilities.keys() & {"8BITMIME", "SMTPUTF8"}:
            # RFC 6152 §3: not under any circumstances.
            text = "the content has eight bits, the server takes seven (no 8BITMIME)"
            self._reject("5.6.3", text)
        if "LIMITS" in capabilities:
            self._limit(capabilities["LIMITS"])
        if envelope.mail_options or envelope.rcpt_options:
            self._left_out = tuple(protocol.left_out(envelope))
        return not self.report.done()

    def _reject(self, status: str, text: str, cause: str = _UNSUPPORTED) -> None:
        self.finish(Outcome(Kind.REFUSED, Scope.MESSAGE, enhanced=status, text=text, cause=cause))

    def _without_utf8(self) -> None:
        """Leave out the recipients that need SMTPUTF8; where the message itself does, everyone."""
        plain = tuple(to for to in self.envelope.recipients if to.isascii())
        text = "the server does not take addresses or headers outside ASCII (no SMTPUTF8)"
        if not plain or needs_smtputf8(self.letter, plain):
            self._reject("5.6.7", text)
            return
        refusal = Outcome(
            Kind.REFUSED, Scope.RECIPIENT, enhanced="5.6.7", text=text, cause=_UNSUPPORTED
        )
        others = [to for to in self.envelope.recipients if not to.isascii()]
        self.outcomes |= dict.fromkeys(others, refusal)
        self.envelope = replace(self.envelope, recipients=plain, utf8=False)

    def _limit(self, limits: str) -> None:
        """Keep to the number of recipients that the server announced (RFC 9422)."""
        found = _RCPTMAX(limits)
        recipients = self.envelope.recipients
        if found and 0 < int(found[1]) < len(recipients):
            most = int(found[1])
            later = recipients[most:]
            self._rest.extend(later)
            self.outcomes |= dict.fromkeys(later, _LATER)
            self.envelope = replace(self.envelope, recipients=recipients[:most])


def _mended(content: Composed) -> Composed:
    """Ready to be stuffed. A large one is mended piece by piece, as it leaves: none was ever composed that needs it."""
    if isinstance(content, Content):
        return content
    content = mend(content)
    return content if len(content) <= LARGE else Content([content])
