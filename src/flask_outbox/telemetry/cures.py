"""What a beginner should do about a failure, in the words of the settings."""

from __future__ import annotations

from collections.abc import Callable

from ..rules.outcomes import Kind, Outcome, Scope

_Row = tuple[Callable[[Outcome], bool], str]

_OUT_OF_STEP = (
    "pipelining",
    "synchronization error",
    "synchronisation error",
    "a reply that does not fit",
)
#: What the systems say of a name that cannot be looked up, and of servers that are silent.
_NO_NAME = ("name or service", "nodename", "name resolution", "no such host", "no address")
_NO_ANSWER = ("no reply within", "no connection within", "unreachable", "timed out")
_TOO_MUCH = ("too many", "too much mail", "rate", "throttl")

#: The first row that fits is said; the docs list them all.
CURES: tuple[_Row, ...] = (
    (
        lambda o: _says(o, "certificate") and _says(o, "mismatch", "not valid for"),
        "The certificate is for another name: set MAIL_SERVER to the server's name as the provider writes it, not to"
        " an address or a name of your own.",
    ),
    (
        lambda o: _says(o, "certificate") and _says(o, "expired", "not yet valid"),
        "The certificate is out of date, or this machine's clock is: renew it on the mail server, or set the clock.",
    ),
    (
        lambda o: _says(o, "certificate") and "MAIL_TLS_CA" not in o.text,
        "The server's certificate is not trusted: give its authority's file in MAIL_TLS_CA, or on a private"
        " network set MAIL_TLS_VERIFY=False.",
    ),
    (
        lambda o: "WRONG_VERSION_NUMBER" in o.text,
        "The server does not begin with TLS there: MAIL_USE_SSL and smtps:// are for port 465, MAIL_USE_TLS and"
        " smtp:// for 587.",
    ),
    (
        lambda o: _says(o, "starttls"),
        "MAIL_USE_TLS and the server do not agree: set it to True where the server wants STARTTLS; where it offers"
        " none, look for its port with TLS (465 with MAIL_USE_SSL, or 587).",
    ),
    (
        lambda o: _says(o, "offers no auth"),
        "The server offers no such login there: use its submission port (587 with MAIL_USE_TLS, 465 with MAIL_USE_SSL),"
        " or leave MAIL_USERNAME and MAIL_PASSWORD out where it wants none.",
    ),
    (
        lambda o: o.code == 530,
        "The server wants a login: set MAIL_USERNAME and MAIL_PASSWORD, both of them.",
    ),
    (
        lambda o: o.scope is Scope.ACCOUNT and o.code in {534, 535, 538},
        "The server wants another login: check MAIL_USERNAME and MAIL_PASSWORD; many providers want an"
        " app password here, not the account's own.",
    ),
    (
        lambda o: o.scope is Scope.ACCOUNT and _says(o, "authenticat", "log in", "login"),
        "The server wants a login: set MAIL_USERNAME and MAIL_PASSWORD.",
    ),
    (
        lambda o: o.scope is Scope.ACCOUNT,
        "The server does not let this account send so: check MAIL_DEFAULT_SENDER (the domain may have to be"
        " verified) and MAIL_USERNAME.",
    ),
    (
        lambda o: o.scope is Scope.MESSAGE and _is_about_sender(o),
        "The server does not take this sender: use an address of the account or of a domain that is verified"
        " there, in Message(sender=…) or MAIL_DEFAULT_SENDER; a visitor's address belongs in reply_to.",
    ),
    (
        lambda o: o.scope is Scope.MESSAGE and o.enhanced == "5.3.4",
        "It is too large for this server: send a link to the files instead, and set MAIL_MAX_SIZE to the server's"
        " limit.",
    ),
    (
        lambda o: o.enhanced == "5.6.7",
        "The server takes no addresses beyond ASCII before the @ (SMTPUTF8): ask for another address.",
    ),
    (
        lambda o: o.scope is Scope.RECIPIENT and _says(o, "relay"),
        "The server sends to its own domains only, or to whoever logs in: set MAIL_USERNAME and MAIL_PASSWORD.",
    ),
    (
        lambda o: o.scope is Scope.TRANSPORT and (o.code == 503 or _says(o, *_OUT_OF_STEP)),
        "The server does not take commands at once as it announced (PIPELINING); some proxies in front of one lose"
        " them. If that goes on, set MAIL_PIPELINING=False.",
    ),
    (
        lambda o: o.scope is Scope.TRANSPORT and o.code != 0 and _says(o, *_TOO_MUCH),
        "The server wants fewer messages at once: lower MAIL_WORKER_RATE or MAIL_POOL_SIZE. What is waiting is sent"
        " later by itself.",
    ),
    (
        lambda o: o.scope is Scope.TRANSPORT and o.kind is Kind.REFUSED and o.code != 0,
        "The server takes nothing from this machine: its address may be on a block list, or mail is to be handed"
        " to the provider's submission port (587) with a login.",
    ),
    (
        lambda o: "no transport named 'default'" in o.text,
        "No mail server is configured: set MAIL_URL or MAIL_SERVER.",
    ),
    (
        lambda o: "no transport named" in o.text,
        "A message asks for a transport that this process does not know: name it in MAIL_TRANSPORTS, there and where"
        " the worker runs, or cancel the message.",
    ),
    (
        lambda o: o.scope is Scope.TRANSPORT and o.code == 0 and "refused" in o.text.lower(),
        "Nothing listens there: check MAIL_SERVER and MAIL_PORT, and that the mail server runs.",
    ),
    (
        lambda o: o.code == 0 and _says(o, *_NO_NAME),
        "There is no such name, or this machine cannot look names up: check MAIL_SERVER and the DNS.",
    ),
    (
        lambda o: o.code == 0 and _says(o, *_NO_ANSWER),
        "The server does not answer there: check MAIL_SERVER and MAIL_PORT (465 wants MAIL_USE_SSL), and whether a"
        " firewall lets you out; many hosters close port 25.",
    ),
    (
        lambda o: o.kind is Kind.DEFERRED and o.scope is Scope.TRANSPORT and o.code == 0,
        "The mail server was not reached: check MAIL_SERVER and MAIL_PORT.",
    ),
)


def _says(outcome: Outcome, *words: str) -> bool:
    text = outcome.text.lower()
    return any(word in text for word in words)


def _is_about_sender(outcome: Outcome) -> bool:
    """By RFC 3463's statuses, Exchange's for "send as", or the words."""
    by_status = outcome.enhanced in {"5.1.7", "5.1.8", "5.7.60", "5.2.252"}
    return by_status or _says(
        outcome, "sender", "from address", "send as", "not owned by", "not verified"
    )


def cure(outcome: Outcome, prefix: str = "") -> str:
    """The advice for an outcome, or ""."""
    for fits, advice in CURES:
        if fits(outcome):
            return prefix + advice
    return ""
