"""What the page shows, as plain data: the templates only lay it out."""

from __future__ import annotations

import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from functools import lru_cache
from math import ceil
from pathlib import Path

import control
from markupsafe import Markup
from spool import Faults, Received, Spool
from trials import Trials

from flask_outbox import Mail, Receipt
from flask_outbox.ledger.reports import AttemptView, MessageView


@dataclass
class SignUp:
    """One use of the form, and how long its view took."""

    name: str
    email: str
    engine: str
    copies: int
    key: str = field(default_factory=lambda: secrets.token_hex(4))
    started: float = field(default_factory=time.time)
    took: float = 0
    receipts: list[Receipt] = field(default_factory=list)
    failure: str = ""

    def subject(self, number: int) -> str:
        text = f"Welcome, {self.name}"
        return text if self.copies == 1 else f"{text} ({number}/{self.copies})"

    def fields(self) -> dict[str, str]:
        """What the form held."""
        return {
            "name": self.name,
            "email": self.email,
            "engine": self.engine,
            "copies": str(self.copies),
        }


@dataclass(frozen=True, slots=True)
class Demo:
    """What the views need at hand.

    :param done: the keys of :data:`STEPS` that have been tried, among others.
    """

    mail: Mail
    spool: Spool
    folder: Path
    trials: Trials
    sign_ups: list[SignUp] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def find(self, key: str) -> SignUp | None:
        return next((one for one in self.sign_ups[:] if one.key == key), None)

    def remember(self, sign_up: SignUp) -> None:
        self.sign_ups.append(sign_up)
        del self.sign_ups[:-20]
        self.done.update(("sent", faults_of(self.spool)[0].mode))


#: The states as they are shown, in the order in which a message passes them, each with its colour.
TONES = {
    "scheduled": "calm",
    "queued": "calm",
    "sending": "busy",
    "retrying": "warn",
    "sent": "good",
    "partly sent": "warn",
    "uncertain": "warn",
    "held": "warn",
    "dead": "bad",
    "expired": "bad",
    "cancelled": "calm",
    "suppressed": "calm",
}

#: Enough of the newest messages to hold all that one sign-up sends.
MANY = 200

#: Seconds after which a worker that has not said so no longer lives; it says so every ten.
SILENCE = 30

#: What is suggested to a newcomer; each is ticked off once it has been tried.
STEPS = (
    ("sent", "Send one mail", "See how long the view took, and when the mail was there."),
    ("slow", "Make the mail server slow", "Send with the outbox, then with the immediate engine."),
    ("killed", "Kill the worker and send 20", "They wait, and arrive once it is back."),
    ("drop", "Let the mail server hang up", "The mail goes again, under the same Message-ID."),
)


# -- the answer of the last sign-up, beside the ones before ------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """How long the view took, and what has become of its mail since.

    :param arrived: how many of its mails the mail server has.
    :param last: seconds from the form's arrival to the newest of them.
    :param states: how many of its mails are in which state.
    """

    sign_up: SignUp
    arrived: int
    last: float
    states: dict[str, int]

    @property
    def total(self) -> int:
        return len(self.sign_up.receipts)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One earlier sign-up in the list; the slowest has a share of 100."""

    sign_up: SignUp
    share: float


def answer(demo: Demo, sign_up: SignUp | None) -> Answer | None:
    if sign_up is None:
        return None
    wanted, first = {one.message_id for one in sign_up.receipts}, dict[str, float]()
    for one in demo.spool.received():
        if one.message_id in wanted:
            first[one.message_id] = one.time
    ids = {one.id for one in sign_up.receipts}
    newest = demo.mail.messages(limit=MANY) if sign_up.engine == "outbox" else ()
    states = Counter(str(view.state) for view in newest if view.id in ids)
    last = max(first.values(), default=0) - sign_up.started
    return Answer(sign_up, len(first), last, in_order(states))


def in_order(states: Mapping[str, int]) -> dict[str, int]:
    """The states that occur, in the order in which a message passes them."""
    return {state: states[state] for state in TONES if states.get(state)}


def comparisons(demo: Demo) -> list[Comparison]:
    """The last few sign-ups, newest first."""
    recent = demo.sign_ups[:-6:-1]
    slowest = max((one.took for one in recent), default=0)
    return [Comparison(one, 100 * one.took / slowest) for one in recent]


# -- the road: outbox, worker, mail server -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Road:
    """The three stations a mail passes.

    :param counts: how many messages are in which state.
    :param paused: why nothing leaves the outbox, or "".
    :param beat: seconds since the worker last said that it lives, or None.
    :param refusal: why the mail server ignores what it was asked for, or "".
    """

    counts: dict[str, int]
    paused: str
    worker: control.Worker | None
    pid: int | None
    beat: float | None
    faults: Faults
    refusal: str
    received: int
    now: float

    @property
    def waiting(self) -> int:
        return sum(self.counts.get(state, 0) for state in ("queued", "sending", "retrying"))

    @property
    def down(self) -> bool:
        if self.worker is None:
            return self.pid is None
        return self.worker.condition is not control.Condition.RUNNING


def road(demo: Demo) -> Road:
    status, now = demo.mail.status(), time.time()
    worker = control.Worker.read(demo.folder)
    beats = {one.pid: one.beat for one in status.workers if now - one.beat < SILENCE}
    pid = worker.pid if worker else next(iter(beats), None)
    faults, refusal = faults_of(demo.spool)
    return Road(
        counts=in_order(status.counts),
        paused=next(iter(status.paused.values()), ""),
        worker=worker,
        pid=pid,
        beat=now - beats[pid] if pid in beats else None,
        faults=faults,
        refusal=refusal,
        received=next(iter(demo.spool.numbers()), 0),
        now=now,
    )


def faults_of(spool: Spool) -> tuple[Faults, str]:
    """What the mail server was asked for; where it makes no sense, the reason too."""
    try:
        return spool.faults(), ""
    except ValueError as error:
        return Faults(), str(error)


def spoken(road: Road) -> str:
    """The situation in a sentence, for those who listen; it changes only when the situation does."""
    if road.waiting and road.down:
        return "The worker is down. The mail waits in the outbox."
    if road.counts.get("retrying"):
        return "Some mail was turned away. It will be tried again."
    if road.waiting:
        return "Mail is on its way."
    return "No mail is waiting."


# -- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a message's history.

    :param after: seconds after the message was accepted.
    """

    after: float
    tone: str
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One message in the list."""

    id: str
    message_id: str
    subject: str
    recipients: str
    state: str
    tone: str
    created: float
    attempts: int
    reply: str
    due_in: float | None
    history: tuple[Event, ...] = ()


def rows(demo: Demo, *, limit: int, opened: str = "") -> list[Row]:
    """The newest messages; the opened one with its history."""
    listed = demo.mail.messages(limit=limit)
    return [row(demo, view, with_history=view.id == opened) for view in listed]


def row(demo: Demo, view: MessageView, *, with_history: bool) -> Row:
    last = view.attempts[-1] if view.attempts else None
    return Row(
        view.id,
        view.message_id,
        view.subject,
        ", ".join(view.to),
        view.state,
        TONES.get(view.state, "calm"),
        view.created,
        len(view.attempts),
        view.reason if view.state == "held" else reply(last) if last else "",
        view.due - time.time() if view.state in {"retrying", "scheduled"} else None,
        tuple(history(demo, view)) if with_history else (),
    )


def history(demo: Demo, view: MessageView) -> list[Event]:
    """What happened to a message, oldest first, seen from both ends.

    The outbox counts milliseconds; within one, the server has a mail before the worker knows it.
    """
    events = [(view.created, 0, "calm", "Stored in the outbox", "")]
    for copy, one in enumerate(copies(demo.spool, view.message_id), 1):
        what = (
            "The mail server has it" if copy == 1 else f"The mail server has it again, copy {copy}"
        )
        at = int(one.time * 1000) / 1000
        events.append((at, 1, "good", what, f"as number {one.number}, {one.size:,} bytes"))
    for attempt in view.attempts:
        tone = {"accepted": "good", "refused": "bad"}.get(attempt.kind, "warn")
        what = f"Attempt {attempt.number}: {attempt.kind}"
        events.append((attempt.finished, 2, tone, what, reply(attempt)))
    return [Event(at - view.created, *rest) for at, _, *rest in sorted(events)]


def reply(attempt: AttemptView) -> str:
    """What the mail server said, or what went wrong on the way."""
    return " ".join(filter(None, (str(attempt.code or ""), attempt.enhanced, attempt.text)))


def copies(spool: Spool, message_id: str) -> list[Received]:
    """Every copy of a message that the mail server has, oldest first."""
    return [one for one in spool.received() if one.message_id == message_id][::-1]


# -- what the mail server received -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Post:
    """One received message with what can be read of it.

    :param copy: 2 for the second copy of the same message, and so on.
    """

    received: Received
    subject: str
    text: str
    copy: int


def post(demo: Demo, *, limit: int) -> list[Post]:
    """The newest messages that the mail server has."""
    received = list(demo.spool.received())
    left = Counter(one.message_id for one in received)
    found = []
    for one in received[:limit]:
        subject, text = preview(demo.spool, one.number)
        found.append(Post(one, subject, text, left[one.message_id]))
        left[one.message_id] -= 1
    return found


@lru_cache(maxsize=500)
def preview(spool: Spool, number: int) -> tuple[str, str]:
    """Subject and text of a received message."""
    try:
        message = message_from_bytes(spool.content(number), policy=policy.default)
    except FileNotFoundError:
        return "", "This message is no longer kept."
    body = message.get_body(("plain", "html"))
    return str(message["Subject"] or ""), body.get_content().strip() if body else ""


# -- words -------------------------------------------------------------------------------------------


def milliseconds(seconds: float) -> str:
    """A duration as the page's big figure: two digits that count, then whole milliseconds."""
    value = seconds * 1000
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def seconds(value: float) -> str:
    """A duration for people: ``"40 ms"``, ``"1.2 s"``, ``"28 s"``, ``"3 min"``."""
    if value < 1:
        return f"{max(value, 0) * 1000:.0f} ms"
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def countdown(value: float) -> str:
    """Whole seconds or minutes until something happens."""
    if value <= 0:
        return "now"
    return f"in {ceil(value)} s" if value < 100 else f"in {ceil(value / 60)} min"


def clock(moment: float) -> str:
    """The time of day on this machine."""
    return time.strftime("%H:%M:%S", time.localtime(moment))


def breakable(text: str) -> Markup:
    """Lets long names of errors break before a capital."""
    return Markup("<wbr>").join(re.split("(?<=[a-z])(?=[A-Z])", text))  # it escapes what it joins
