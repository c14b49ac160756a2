"""The grammar of SMTP as a client sees it: one table, from which the protocol takes all it knows of order.

For each state it names the commands that fit and, by the first digit of the reply, the state that
follows. A missing entry is the error: the caller's when the command is sent, the server's when the
reply comes.
"""

from __future__ import annotations

from enum import IntEnum, auto


class State(IntEnum):
    """Where the conversation is."""

    CONNECTED = auto()
    GREETED = auto()
    READY = auto()
    HANDSHAKE = auto()  # STARTTLS was agreed, TLS is being set up
    CHALLENGED = auto()  # in the middle of AUTH
    SENDER = auto()
    RECIPIENT = auto()
    DATA = auto()  # the server waits for the content
    CLOSED = auto()


class Command(IntEnum):
    """What is sent. What follows AUTH has no verb; two stand for replies that come unasked: GREETING, and with
    LMTP one VERDICT on the content a recipient."""

    GREETING = auto()
    EHLO = auto()
    HELO = auto()
    LHLO = auto()
    STARTTLS = auto()
    AUTH = auto()
    RESPONSE = auto()
    CANCEL = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    CONTENT = auto()
    VERDICT = auto()
    RSET = auto()
    NOOP = auto()
    QUIT = auto()


_Steps = dict[Command, dict[int, State]]


def _any(state: State) -> dict[int, State]:
    """The same state after a good reply and after a refusal."""
    return {2: state, 4: state, 5: state}


def _always(state: State) -> _Steps:
    """What fits between any two commands."""
    return {Command.NOOP: _any(state), Command.QUIT: _any(State.CLOSED)}


def _reset(state: State) -> _Steps:
    return {Command.RSET: {2: State.READY}, **_always(state)}


#: State -> command -> first digit of the reply -> state.
STEPS: dict[State, _Steps] = {
    State.CONNECTED: {Command.GREETING: {2: State.GREETED, 4: State.CLOSED, 5: State.CLOSED}},
    State.GREETED: {
        Command.EHLO: {2: State.READY, 4: State.GREETED, 5: State.GREETED},
        Command.HELO: {2: State.READY, 4: State.GREETED, 5: State.GREETED},
        Command.LHLO: {2: State.READY, 4: State.GREETED, 5: State.GREETED},
        **_always(State.GREETED),
    },
    State.READY: {
        Command.STARTTLS: {2: State.HANDSHAKE, 4: State.READY, 5: State.READY},
        Command.AUTH: {2: State.READY, 3: State.CHALLENGED, 4: State.READY, 5: State.READY},
        Command.MAIL: {2: State.SENDER, 4: State.READY, 5: State.READY},
        # Refusals of what was sent ahead, behind a MAIL that was refused.
        Command.RCPT: {4: State.READY, 5: State.READY},
        Command.DATA: {4: State.READY, 5: State.READY},
        Command.VERDICT: _any(State.READY),
        **_reset(State.READY),
    },
    State.HANDSHAKE: {},
    State.CHALLENGED: {
        Command.RESPONSE: {2: State.READY, 3: State.CHALLENGED, 4: State.READY, 5: State.READY},
        Command.CANCEL: _any(State.READY),
    },
    State.SENDER: {
        Command.RCPT: {2: State.RECIPIENT, 4: State.SENDER, 5: State.SENDER},
        # 354 although every recipient was refused: RFC 2920 §3.1 allows it.
        Command.DATA: {3: State.DATA, 4: State.SENDER, 5: State.SENDER},
        **_reset(State.SENDER),
    },
    State.RECIPIENT: {
        Command.RCPT: _any(State.RECIPIENT),
        Command.DATA: {3: State.DATA, 4: State.RECIPIENT, 5: State.RECIPIENT},
        **_reset(State.RECIPIENT),
    },
    State.DATA: {Command.CONTENT: _any(State.READY), Command.VERDICT: _any(State.READY)},
    State.CLOSED: {},
}
