"""A letter on its way through a pool: made ready for the wire, and settled exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from ..mail.letter import Letter
from ..mail.mime import compose, needs_smtputf8
from ..rules.outcomes import Kind, Outcome, Report, Scope
from ..rules.replies import Step
from .base import Clearance
from .smtp_protocol import Envelope, Reply, mend, to_wire


class Job:
    """A letter that waits for a connection, or is on one.

    :raises MessageError: an address that does not fit into an SMTP command.
    """

    __slots__ = (
        "answered",
        "clearance",
        "envelope",
        "letter",
        "outcomes",
        "report",
        "retried",
        "to",
        "wire",
    )

    def __init__(self, letter: Letter, to: tuple[str, ...], clearance: Clearance) -> None:
        self.letter = letter
        self.to = to
        self.clearance = clearance
        content = mend(compose(letter))
        self.wire = to_wire(content)
        self.envelope = Envelope(
            letter.envelope_from,
            to,
            size=len(content),
            eight_bit=not content.isascii(),
            utf8=needs_smtputf8(letter, to),
            mail_options=letter.mail_options,
            rcpt_options=letter.rcpt_options,
        )
        #: What is settled already, by recipient.
        self.outcomes: dict[str, Outcome] = {}
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
        """Whether anyone could still get it."""
        return len(self.outcomes) < len(self.to)

    def hear(self, step: Step, reply: Reply, recipient: str = "") -> None:
        """Note what the server said to one step of this letter."""
        self.answered = True
        if step is Step.CONTENT:
            self.finish(reply.meaning(step))
        elif reply.code < 400:
            return
        elif step is Step.RCPT:
            self.outcomes[recipient] = reply.meaning(step)
            if not self.open:
                self._settle({to: self.outcomes[to] for to in self.to})
        else:
            self.finish(reply.meaning(step))

    def finish(self, outcome: Outcome) -> None:
        """The end, for everyone who has no outcome yet."""
        self._settle(dict.fromkeys(self.to, outcome) | self.outcomes)

    def _settle(self, outcomes: Mapping[str, Outcome]) -> None:
        if not self.report.done():
            self.report.set_result(Report(outcomes))

    def withdraw(self) -> None:
        """The end, with nothing tried."""
        if not self.report.done():
            self.report.set_result(Report())

    def fail(self, error: Exception) -> None:
        """The end by a bug, which belongs to whoever waits."""
        if not self.report.done():
            self.report.set_exception(error)

    def adapt(self, capabilities: Mapping[str, str]) -> bool:
        """Fit it to what the server announced; False when nothing remains to be sent."""
        limit = capabilities.get("SIZE", "")
        if limit.isdigit() and 0 < int(limit) < self.envelope.size:
            text = f"the letter has {self.envelope.size} bytes, the server takes {limit}"
            self.finish(Outcome(Kind.REFUSED, Scope.MESSAGE, enhanced="5.3.4", text=text))
        elif self.envelope.utf8 and "SMTPUTF8" not in capabilities:
            self._without_utf8()
        return not self.report.done()

    def _without_utf8(self) -> None:
        """Leave out the recipients that need SMTPUTF8; where the message itself does, everyone."""
        plain = tuple(to for to in self.to if to.isascii())
        text = "the server does not take addresses or headers outside ASCII (no SMTPUTF8)"
        refusal = Outcome(Kind.REFUSED, Scope.MESSAGE, enhanced="5.6.7", text=text)
        if not plain or needs_smtputf8(self.letter, plain):
            self.finish(refusal)
            return
        others = set(self.to) - set(plain)
        self.outcomes = dict.fromkeys(others, replace(refusal, scope=Scope.RECIPIENT))
        self.envelope = replace(self.envelope, recipients=plain, utf8=False)
