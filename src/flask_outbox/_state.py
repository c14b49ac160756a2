"""Flask-Mail's state beside the settings: which key each field stands for, and what a change of it means."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError

if TYPE_CHECKING:
    from ._settings import Settings
    from ._wiring import Wiring

#: The key of each field of Flask-Mail's state; ``suppress`` is read at each send.
KEYS = {
    "server": "MAIL_SERVER",
    "username": "MAIL_USERNAME",
    "password": "MAIL_PASSWORD",
    "port": "MAIL_PORT",
    "use_tls": "MAIL_USE_TLS",
    "use_ssl": "MAIL_USE_SSL",
    "default_sender": "MAIL_DEFAULT_SENDER",
    "debug": "MAIL_DEBUG",
    "max_emails": "MAIL_MAX_EMAILS",
    "ascii_attachments": "MAIL_ASCII_ATTACHMENTS",
}
#: Those that MAIL_URL stands for.
IN_URL = frozenset(
    {"MAIL_SERVER", "MAIL_USERNAME", "MAIL_PASSWORD", "MAIL_PORT", "MAIL_USE_TLS", "MAIL_USE_SSL"}
)


def flag(config: Mapping[str, Any], key: str, default: bool) -> bool:
    """A setting that is true or false, also as the environment has it."""
    value = config.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, bool):
        return value
    from ._kinds import boolean

    try:
        return boolean(value)
    except ValueError:
        raise ConfigurationError(f"'{key}' must be true or false.") from None


def same_road(wiring: Wiring, settings: Settings) -> bool:
    """Whether letters are sent alike, however they are made."""
    before = wiring.settings
    queue, other = settings.task_queue, before.task_queue
    # Two queues of RQ's are equal where they have one name, on whatever server.
    same_queue = queue is other or (isinstance(queue, str) and queue == other)
    return same_queue and before == replace(
        settings,
        default_sender=before.default_sender,
        ascii_attachments=before.ascii_attachments,
        task_queue=other,
    )


def show_transcript() -> None:
    """Let what is said to servers be seen on stderr, as smtplib shows it."""
    from flask.logging import default_handler

    transcript = logging.getLogger("flask_outbox.smtp")
    transcript.setLevel(logging.DEBUG)
    if not transcript.hasHandlers():
        transcript.addHandler(default_handler)
