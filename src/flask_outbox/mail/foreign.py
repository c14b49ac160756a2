"""Messages of other makers turned into our draft: Flask-Mail's, Django's, and the standard library's.

The first two are known by their attributes and need not be installed. What is none of these is refused.
"""

from __future__ import annotations

from typing import Any

from ..errors import MessageError
from .message import Attachment, Message

_FLASK_MAIL_FIELDS = (
    "subject",
    "recipients",
    "body",
    "alts",
    "sender",
    "cc",
    "bcc",
    "reply_to",
    "date",
    "charset",
    "extra_headers",
    "mail_options",
    "rcpt_options",
)


def from_foreign(foreign: object) -> Message:
    """The draft that says the same.

    :param foreign: a ``flask_mail.Message``, an ``EmailMessage`` of Flask-Mailman or Django, or an
        :class:`email.message.EmailMessage` or :class:`email.message.Message`. It stays as it is.
    :raises MessageError: it is none of these, or holds what no draft can.
    """
    if isinstance(foreign, Message):
        return foreign
    if hasattr(foreign, "recipients") and hasattr(foreign, "alts"):
        return _from_flask_mail(foreign)
    if hasattr(foreign, "from_email") and hasattr(foreign, "to"):
        return _from_django(foreign)
    # Loaded here, because the email package is slow to load.
    from email.message import Message as StdlibMessage

    if isinstance(foreign, StdlibMessage):
        from .stdlib import from_stdlib

        return from_stdlib(foreign)
    raise MessageError(
        f"message: {type(foreign).__name__} is not a message; give a flask_outbox.Message, "
        "or an EmailMessage of the standard library.",
        field="message",
    )


def _from_flask_mail(foreign: Any) -> Message:  # known by its attributes alone
    fields: dict[str, Any] = {name: getattr(foreign, name, None) for name in _FLASK_MAIL_FIELDS}
    message = Message(**fields)
    message.msgId = getattr(foreign, "msgId", None)
    for file in foreign.attachments or ():
        message.attach(file.filename, file.content_type, file.data, file.disposition, file.headers)
    return message


def _from_django(foreign: Any) -> Message:
    html = getattr(foreign, "content_subtype", "plain") == "html"
    message = Message(
        foreign.subject,
        foreign.to,
        body=None if html else foreign.body,
        html=foreign.body if html else None,
        sender=foreign.from_email,
        cc=foreign.cc,
        bcc=foreign.bcc,
        reply_to=[*foreign.reply_to],
        charset=getattr(foreign, "encoding", None),
        extra_headers=foreign.extra_headers,
    )
    for content, content_type in getattr(foreign, "alternatives", None) or ():
        main, _, subtype = content_type.partition("/")
        if main != "text" or subtype in message.alts:
            raise MessageError(
                f"alternatives: {content_type!r} cannot be a further version of the text; attach it.",
                field="alternatives",
            )
        message.alts[subtype] = content
    message.attachments.extend(map(_django_file, foreign.attachments))
    return message


def _django_file(file: Any) -> Attachment:  # a MIME part, or name, data and type
    if isinstance(file, tuple):
        filename, data, content_type = file
        return Attachment(filename, content_type, data)
    from .stdlib import InexpressibleError, file_of

    try:
        return file_of(file)
    except InexpressibleError:
        raise MessageError(
            "attachments: holds a MIME part that no attachment can express; attach its file.",
            field="attachments",
        ) from None
