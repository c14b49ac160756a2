"""The table of SMTP replies: step, code, enhanced status and words, to kind and scope, each row with its reason.

The code's first digit says whether it may heal (RFC 5321 §4.2.1); the step says whose fault it is, unless the
enhanced status (RFC 3463) or the words know better. Words are the last resort: only what common servers say under a
code that says something else. Two decisions run through the table:

- A sender's address that is refused is the *message's* fault. An application that puts its visitors' addresses into
  ``sender`` would otherwise stop the whole transport with one letter. Only what says that the login is missing, wrong
  or blocked is the *account's*: that fails for every letter, so they wait for the cure instead of dying one by one.
- A refused recipient is the *recipient's* fault, "relay access denied" included: a server inside a company takes its
  own domains and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .outcomes import Kind, Scope


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
_ENVELOPE = (Step.MAIL, Step.RCPT)
_COMMANDS = (Step.MAIL, Step.RCPT, Step.DATA)


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    :param pattern: the beginning of code and enhanced status with a space between them.
    :param why: the reason, with its source.
    :param words: what the reply's text must hold besides, in any case; "" for whatever it says.
    """

    steps: tuple[Step, ...]
    pattern: str
    kind: Kind
    scope: Scope
    why: str
    words: str = ""


_LOGIN_WANTED = (
    r"^(?!.*\b(?:spf|dkim|dmarc)\b).*(?:authentication (?:is )?(?:required|needed)|not authenticated"
    r"|requires authentication"
    r"|(?:must|need to|please) (?:first )?(?:authenticate|log ?in)|(?:authenticate|log ?in) first)"
)
_TOO_MUCH = (
    r"too many (?:e-?mails|mails|messages|connections)|too much mail|rate[ -]?limit|throttl"
    r"|sending (?:rate|limit)|rate (?:is |was |has been )?exceeded"
)
_SENDER = (
    r"sender (?:address |domain )?(?:is )?(?:rejected|refused|denied|not allowed|unknown)"
    r"|sender verif|not owned by|from address|mail ?from"
)
_CLIENT = r"client host|your (?:ip|host)\b|blocked using|(?:block|black|deny)[ -]?list|\b(?:dns[bw]l|rbl)\b|reputation"

#: The first row that fits decides. The last row of each step takes whatever is left.
TABLE = (
    Row(
        tuple(Step),
        r"421",
        Kind.DEFERRED,
        Scope.TRANSPORT,
        "the server is going away, whatever it was asked (RFC 5321 §3.8)",
    ),
    Row(
        (Step.AUTH,),
        r"4",
        Kind.DEFERRED,
        Scope.TRANSPORT,
        "454 and its like say nothing against the password (RFC 4954 §6)",
    ),
    Row((Step.AUTH,), r"", Kind.REFUSED, Scope.ACCOUNT, "the login is wrong or not allowed"),
    Row(_OPENING, r"4", Kind.DEFERRED, Scope.TRANSPORT, "the server takes nothing just now"),
    Row(_OPENING, r"", Kind.REFUSED, Scope.TRANSPORT, "the server takes nothing from this machine"),
    Row(
        _LETTER,
        r"53[0458]|5.. 5\.7\.(8|9|1[1-4])$",
        Kind.REFUSED,
        Scope.ACCOUNT,
        "a login is wanted, or this one is wrong, weak or disabled (RFC 4954 §6, IANA's statuses)",
    ),
    Row(
        _LETTER,
        r"5.. 5\.7\.(57|139|50[1-3]|70[58])$",
        Kind.REFUSED,
        Scope.ACCOUNT,
        "not logged in; spam, a banned sender, too much from the tenant; a banned host"
        " (https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online)",
    ),
    Row(
        _LETTER,
        r"550 5\.4\.5$",
        Kind.REFUSED,
        Scope.ACCOUNT,
        "Gmail: the day's quota is used up (https://support.google.com/a/answer/3726730)",
    ),
    Row(
        _LETTER,
        r"5(?!.. 5\.7\.2\d$)",
        Kind.REFUSED,
        Scope.ACCOUNT,
        "Exim and others ask for a login in words only; 5.7.2x speaks of SPF, DKIM and DMARC (RFC 7372)",
        _LOGIN_WANTED,
    ),
    Row(
        _LETTER,
        r"[45].. (?![45]\.[25]\.)",
        Kind.DEFERRED,
        Scope.TRANSPORT,
        "too fast for this server, some say it under a 5xx; X.2.X is about one mailbox, X.5.X about one command",
        _TOO_MUCH,
    ),
    Row(
        _LETTER,
        r"5.. 5\.3\.4$",
        Kind.REFUSED,
        Scope.MESSAGE,
        "larger than the server takes (RFC 3463 §3.4)",
    ),
    Row(
        (Step.RCPT,),
        r"552 (5\.5\.3)?$",
        Kind.DEFERRED,
        Scope.RECIPIENT,
        "old servers say 552 for 452, too many recipients at once (RFC 5321 §4.5.3.1.10)",
    ),
    Row(
        (Step.RCPT,),
        r"4.. 4\.1\.[78]$",
        Kind.DEFERRED,
        Scope.MESSAGE,
        "a sender's address that cannot be checked just now (RFC 3463 §3.2)",
    ),
    Row(
        (Step.RCPT,),
        r"5.. 5\.1\.[78]$",
        Kind.REFUSED,
        Scope.MESSAGE,
        "the sender's address, said as late as at RCPT (RFC 3463 §3.2)",
    ),
    Row(
        (Step.RCPT,),
        r"4",
        Kind.DEFERRED,
        Scope.MESSAGE,
        "Postfix judges the sender at RCPT (smtpd_delay_reject)",
        _SENDER,
    ),
    Row(
        (Step.RCPT,),
        r"5",
        Kind.REFUSED,
        Scope.MESSAGE,
        "Postfix judges the sender at RCPT (smtpd_delay_reject)",
        _SENDER,
    ),
    Row(
        _ENVELOPE,
        r"4",
        Kind.DEFERRED,
        Scope.TRANSPORT,
        "this machine is not welcome, said as late as at the envelope",
        _CLIENT,
    ),
    Row(
        _ENVELOPE,
        r"5",
        Kind.REFUSED,
        Scope.TRANSPORT,
        "this machine is not welcome, said as late as at the envelope",
        _CLIENT,
    ),
    Row(
        _COMMANDS,
        r"503",
        Kind.DEFERRED,
        Scope.TRANSPORT,
        "a bad sequence of commands: the two ends are out of step, the letter has no part in it",
    ),
    Row(
        _COMMANDS,
        r"[45]",
        Kind.DEFERRED,
        Scope.TRANSPORT,
        "commands ahead of replies are only sent where the server announced that it takes them (RFC 2920)",
        r"pipelining|synchroni[sz]ation error",
    ),
    Row((Step.RCPT,), r"4", Kind.DEFERRED, Scope.RECIPIENT, "not this recipient, not now"),
    Row((Step.RCPT,), r"", Kind.REFUSED, Scope.RECIPIENT, "not this recipient"),
    Row(
        (Step.MAIL, Step.DATA),
        r"4.. 4\.[34]\.|45[12] $",
        Kind.DEFERRED,
        Scope.TRANSPORT,
        "the mail system or its network; an error in processing, no storage left (RFC 3463 §3.4, §3.5)",
    ),
    Row(_LETTER, r"4", Kind.DEFERRED, Scope.MESSAGE, "not this message, not now"),
    Row(_LETTER, r"", Kind.REFUSED, Scope.MESSAGE, "not this message"),
)
