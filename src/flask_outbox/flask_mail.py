"""The module to stand under the name ``flask_mail``, see :func:`flask_outbox.install_as_flask_mail`.

It has every name that ``import flask_mail`` of 0.10 gives, those included that are the standard library's: libraries
and their tests import some of these from there.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

from . import Attachment, BadHeaderError, Mail, Message, email_dispatched
from ._flask_mail import Connection, _Mail, _MailMixin
from ._sanitize import (
    FlaskMailUnicodeDecodeError,
    force_text,
    sanitize_address,
    sanitize_addresses,
    sanitize_subject,
)
from .signals import _signals as signals

__all__ = [
    "Attachment",
    "BadHeaderError",
    "Connection",
    "FlaskMailUnicodeDecodeError",
    "Mail",
    "Message",
    "_Mail",
    "_MailMixin",
    "email_dispatched",
    "force_text",
    "sanitize_address",
    "sanitize_addresses",
    "sanitize_subject",
    "signals",
]

#: The version of Flask-Mail whose names these are.
_VERSION = "0.10.0"

#: What Flask-Mail imports into its own namespace: modules by their name, and what is in others.
_IMPORTED = {
    "Flask": "flask",
    "Header": "email.header",
    "MIMEBase": "email.mime.base",
    "MIMEMultipart": "email.mime.multipart",
    "MIMEText": "email.mime.text",
    "TracebackType": "types",
    "blinker": "",
    "charset": "email",
    "contextmanager": "contextlib",
    "current_app": "flask",
    "encode_base64": "email.encoders",
    "formataddr": "email.utils",
    "formatdate": "email.utils",
    "guess_type": "mimetypes",
    "make_msgid": "email.utils",
    "parseaddr": "email.utils",
    "policy": "email",
    "re": "",
    "smtplib": "",
    "time": "",
    "unicodedata": "",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        warnings.warn(
            "'__version__' is deprecated in Flask-Mail.", DeprecationWarning, stacklevel=2
        )
        return _VERSION
    if name not in _IMPORTED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = _IMPORTED[name]
    if not place:
        return import_module(name)
    if place == "email":
        return import_module(f"email.{name}")
    return getattr(import_module(place), name)
