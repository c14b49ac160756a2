"""From a message to its letter, and from a letter to the host of somebody's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flask import Flask

from ._message import Message, new_id
from ._sanitize import sanitize_address
from .engines.base import Receipt
from .mail.address import Written
from .mail.message import Message as Draft

if TYPE_CHECKING:
    import smtplib

    from ._wiring import Wiring
    from .mail.letter import Letter


def foreign(message: object) -> Draft:
    """Our message, of one of Flask-Mail or of the standard library."""
    from .mail.foreign import from_foreign

    return from_foreign(message)


def letter_of(app: Flask, wiring: Wiring, draft: Draft, now: float, transport: str) -> Letter:
    """The letter of a message, under the id and with the content that it has already, if it has."""
    if not isinstance(draft, Message):
        return seal(app, wiring, draft, new_id(now), now, transport)
    letter = seal(app, wiring, draft, draft.next_letter_id() or new_id(now), now, transport)
    draft.note_letter(letter.id, now)
    content = draft.own_content
    return letter if content is None else replace(letter, raw=content)


def seal(app: Flask, wiring: Wiring, draft: Draft, id: str, now: float, transport: str) -> Letter:
    """Make a letter of a message, with what the settings say where it says nothing."""
    if draft.template or draft.locale:
        from ._render import render

        render(app, draft)
    letter = wiring.seal(draft, id, now, transport)
    if letter.text is letter.html is None and (letter.attachments or letter.alternatives):
        # As in Flask-Mail: some readers show what comes first as the text, where there is none, not even an empty one.
        letter = replace(letter, text="")
    return letter


def send_by_host(host: smtplib.SMTP, draft: Draft, letter: Letter, path: Written | None) -> Receipt:
    """Send as Flask-Mail does, over a connection that the caller has opened."""
    from .mail.mime import compose

    host.sendmail(
        sanitize_address(path or draft.sender or letter.sender),
        [sanitize_address(to) for to in draft.send_to],
        compose(letter),
        draft.mail_options,
        draft.rcpt_options,
    )
    return Receipt(letter.id, letter.message_id, "sent", durable=False)
