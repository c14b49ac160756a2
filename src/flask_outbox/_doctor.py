"""``flask mail doctor``: everything between ``mail.send`` and the mail server, looked at once, each with its cure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click
from flask import Flask

from ._message import Message
from ._roads import Signpost, signposts
from ._settings import DEFAULT, Settings, unknown_keys
from ._terminal import clock, closed, desk_of, span
from ._wiring import called_in
from .errors import DeliveryError, MailError
from .ledger.checkup import examine, exists
from .ledger.clock_statements import SLACK
from .ledger.file import DrainerLock
from .ledger.key_checkup import examine_keys
from .ledger.store import EVERY
from .rules.findings import Finding, Level, failed, ok, warning
from .telemetry.cures import cure
from .transports.smtp_probe import Probe, probe
from .transports.smtp_settings import SmtpSettings, is_loopback

if TYPE_CHECKING:
    from ._desk import AppDesk
    from ._wiring import Wiring
    from .ledger.reports import Status
    from .ledger.store import Store

#: Seconds before the end of a certificate from which on it is warned of.
_SOON = 14 * 86_400

#: What waits for a person, and what that person may do.
_WAITING = {"held": "'retry' or 'cancel'", "uncertain": "'retry'", "dead": "'retry' or 'purge'"}


def examination(load: Callable[[], Flask], to: str | None) -> Iterator[Finding]:
    """Look at everything, one after the other.

    :param load: gives the application; its settings may be wrong.
    :param to: where a test message is to be sent, if one is.
    """
    try:
        app = load()
        with app.app_context():
            desk = desk_of(app)
            wiring = desk.wiring
    except (MailError, click.ClickException) as error:
        yield failed("settings", str(error))
        return
    with app.app_context():
        yield from _settings(app, desk, wiring.settings)
        yield from _sender(wiring.settings)
        if wiring.store is None:
            yield ok("outbox", f"With MAIL_ENGINE={wiring.engine!r} there is none.")
        else:
            yield from _outbox(wiring, wiring.store)
        yield from _roads(app, wiring.settings)
        if to is not None:
            yield _test(desk, to)


# -- settings --------------------------------------------------------------------------------------------------


def _settings(app: Flask, desk: AppDesk, settings: Settings) -> Iterator[Finding]:
    found = list(_doubts(app, desk, settings))
    yield from found or [ok("settings", "All are known, and none contradicts another.")]
    if settings.redirect_to:
        text = f"MAIL_REDIRECT_TO sends everything to {', '.join(settings.redirect_to)}."
        yield ok("settings", text)
    if settings.allowed_recipients:
        text = "MAIL_ALLOWED_RECIPIENTS lets mail go to"
        yield ok("settings", f"{text} {', '.join(settings.allowed_recipients)} alone.")


def _doubts(app: Flask, desk: AppDesk, settings: Settings) -> Iterator[Finding]:
    for key in unknown_keys(app.config):
        yield warning("settings", f"{key} is no setting of Flask-Outbox, and is ignored.")
    if desk.suppressed(app, desk.state):
        cure = "Set MAIL_SUPPRESS_SEND=False, or TESTING=False."
        yield warning("settings", "Sending is suppressed: nothing is sent or stored.", cure)
    for post in signposts(settings):
        if half := post.half_a_login:
            yield warning("settings", half)
    if not settings.tls_verify:
        text = "MAIL_TLS_VERIFY=False: whoever is on the way can read mail and password."
        yield warning("settings", text, "Name the server's authority in MAIL_TLS_CA instead.")


def _sender(settings: Settings) -> Iterator[Finding]:
    sender = settings.default_sender
    if sender is None:
        cure = "Set MAIL_DEFAULT_SENDER, or give each Message its sender."
        yield warning(
            "sender", "MAIL_DEFAULT_SENDER is not set: a message without one fails.", cure
        )
    elif "." not in sender.domain:
        cure = "Set MAIL_DEFAULT_SENDER to an address of a domain of yours."
        text = f"Most servers refuse the domain of {sender.addr}, which is not on the internet."
        yield warning("sender", text, cure)
    else:
        yield ok("sender", f"{sender.addr}, of the domain {sender.domain}.")


# -- the outbox ------------------------------------------------------------------------------------------------


def _outbox(wiring: Wiring, store: Store) -> Iterator[Finding]:
    usable = exists(store.database)
    for finding in examine(store.database, wiring.settings.max_size):
        usable = usable and not (finding.level is Level.FAILED and finding.subject == "outbox")
        yield finding
    if not usable or wiring.reports is None:
        return
    yield from examine_keys(store)
    now = time.time()
    try:
        status = wiring.reports.status(now)
        drained = store.path is None or DrainerLock(store.path, external=False).taken()
        newest = wiring.reports.list(limit=1)
    except MailError as error:
        yield failed("worker", str(error))
        return
    if newest and newest[0].created > now + SLACK:
        yield _clock(newest[0].created - now)
    yield _worker(wiring.settings, status, drained, now)
    yield from _messages(status, now)


def _clock(ahead: float) -> Finding:
    text = (
        f"The newest message is dated {span(ahead)} from now: the clock was set back, or is behind."
    )
    cure = "Let the machine keep its time by NTP; what waits for that time is sent when the worker is restarted."
    return warning("clock", text, cure)


def _worker(settings: Settings, status: Status, drained: bool, now: float) -> Finding:
    due = status.oldest_due is not None
    if working := status.working(now):
        who = ", ".join(f"{w.pid} on {w.host}" for w in working)
        seen = span(now - max(w.beat for w in working))
        if drained:
            return ok("worker", f"Process {who} drains the outbox, and was seen {seen} ago.")
        text = f"Process {who} was seen {seen} ago, but holds no lock of the outbox: it has died."
    elif status.workers:
        seen = span(now - max(w.beat for w in status.workers))
        text = f"The last sign of life of a worker is {seen} old."
        if drained:
            cure = "It hangs: restart its process; what it holds goes back to the queue."
            return failed("worker", text, cure)
    else:
        text = "No worker is running."
    start = "Start 'flask mail worker'."
    if settings.worker == "thread":
        start = "Start the web process and ask it for a page, or start 'flask mail worker'."
    if due:
        return failed("worker", f"{text} Messages are due, and nobody sends them.", start)
    if settings.worker == "external":
        return warning("worker", text, start)
    return ok("worker", f"{text} One begins with the first request or send of a process.")


def _messages(status: Status, now: float) -> Iterator[Finding]:
    for lane, reason in status.paused.items():
        what, cure = f"Transport {lane!r}", f"Mend the cause, then: flask mail resume {lane}"
        if lane == EVERY:
            what, cure = "Everything", "flask mail resume --all"
        yield failed("messages", f"{what} is paused: {reason}.", cure)
    for one in status.closed:
        yield (warning if one.failures else ok)("messages", closed(one, now))
    for state in _WAITING:
        if count := status.counts.get(state, 0):
            cure = f"See 'flask mail list --state {state}', then 'show' and {_WAITING[state]}."
            yield warning("messages", f"{count:,} {state}.", cure)
    due = "nothing is due"
    if status.oldest_due is not None:
        due = f"the oldest has been due for {span(now - status.oldest_due)}"
    counts = [
        f"{count:,} {state}" for state, count in status.counts.items() if state not in _WAITING
    ]
    yield ok("messages", f"{', '.join([*counts, due]).capitalize()}.")


# -- the server ------------------------------------------------------------------------------------------------


def _roads(app: Flask, settings: Settings) -> Iterator[Finding]:
    posts = signposts(settings)
    if not any(post.name == DEFAULT for post in posts):
        whom = " for messages that name no transport" if posts else ""
        cure = "Set MAIL_URL or MAIL_SERVER."
        yield failed("server", f"No mail server is configured{whom}.", cure)
    for post in posts:
        for end in post.ends:
            for finding in _road(replace(end, settings=called_in(app.app_context, end.settings))):
                subject = "server" if post.name == DEFAULT else f"server {post.name}"
                yield replace(finding, subject=subject)


def _road(end: Signpost) -> Iterator[Finding]:
    server = end.server
    if server is not None:
        yield from _server(server, end.settings.max_size, asyncio.run(probe(server)), time.time())
    elif end.dsn is not None:
        where = "MAIL_URL" if end.name == DEFAULT else "The URL"
        text = f"{where} begins with {end.dsn.scheme}://, by which no mail leaves this machine."
        yield warning("server", text, f"Set {where} to a mail server where mail is to be sent.")


def _server(server: SmtpSettings, max_size: int, found: Probe, now: float) -> Iterator[Finding]:
    if found.addresses and found.addresses != (server.host,):
        yield ok("server", f"{server.host} is {', '.join(found.addresses)}.")
    if found.reached:
        yield ok("server", f"{server.name} takes connections.")
    if found.capabilities:
        yield from _capabilities(server, found, max_size)
    if found.tls:
        yield _certificate(found, now)
    if found.failure is not None:
        yield failed("server", f"{str(found.failure).rstrip('.')}.", cure(found.failure))
        return
    if not found.tls and not server.socket and not is_loopback(server.host):
        text = f"Mail goes to {server.host} without TLS, readable on the way."
        yield warning("server", text, "Set MAIL_USE_TLS (mostly port 587) or MAIL_USE_SSL (465).")
    login = "The login is accepted" if server.wants_login else "No login is set, none was demanded"
    yield ok("server", f"{login}; no message was sent.")


def _capabilities(server: SmtpSettings, found: Probe, max_size: int) -> Iterator[Finding]:
    yield ok("server", f"It announces {', '.join(sorted(found.capabilities))}.")
    size = found.capabilities.get("SIZE", "")
    if size.isdecimal() and 0 < int(size) < max_size:
        text = (
            f"It takes messages of {int(size):,} bytes at most, MAIL_MAX_SIZE allows {max_size:,}."
        )
        yield warning("server", text, f"Set MAIL_MAX_SIZE={size}, so that 'send' says so.")
    if server.pipelining and "PIPELINING" not in found.capabilities:
        yield ok("server", "It does without PIPELINING: each message takes more round trips.")
    if "SMTPUTF8" not in found.capabilities:
        yield ok("server", "It does without SMTPUTF8: only ASCII may stand before an @.")


def _certificate(found: Probe, now: float) -> Finding:
    if found.expires is None:
        return ok("server", f"The connection is encrypted by {found.tls}; nobody verified by whom.")
    text = f"{found.tls}; the certificate is trusted, and ends {clock(found.expires)}."
    if found.expires - now < _SOON:
        return warning(
            "server", text, "It is to be renewed on the mail server, or nothing is sent."
        )
    return ok("server", text)


def _test(desk: AppDesk, to: str) -> Finding:
    body = "This is a test message from your Flask application.\n"
    try:
        message = Message("Test message", recipients=[to], body=body)
        receipt = desk.state.send(message, engine="immediate")
    except DeliveryError as error:
        first = next(iter(error.recipients.values()))
        return failed("test", f"The message to {to} was not taken: {first}.", cure(first))
    except MailError as error:
        return failed("test", str(error))
    if receipt.state == "suppressed":
        return failed("test", "Sending is suppressed.", "Unset TESTING and MAIL_SUPPRESS_SEND.")
    return ok("test", f"The message for {to} was taken: {receipt.message_id}")
