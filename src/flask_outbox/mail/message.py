"""The message: the draft an application fills in. Mutable, needs no app, and is checked when it is sealed."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping

from .address import Written, listed


class Attachment:
    """A file to be sent with a message.

    :param filename: its name for the reader; a name beyond ASCII is fine.
    :param content_type: ``type/subtype``, parameters allowed; guessed from the name where it is left out.
    :param data: the file's bytes, or text.
    :param disposition: ``"attachment"``, or ``"inline"`` for what the HTML shows.
    :param headers: further headers of the part. A ``Content-ID`` that the HTML names as ``cid:`` puts the part
        beside the HTML, where every reader finds it.
    :raises ValueError: there is no data.
    """

    def __init__(
        self,
        filename: str | None = None,
        content_type: str | None = None,
        data: str | bytes | None = None,
        disposition: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    ) -> None:
        if data is None:
            raise ValueError("The 'data' argument is required.")
        self.filename = filename
        self.content_type: str = content_type or _guessed(filename, data)
        self.data: str | bytes = data
        self.disposition: str = disposition or "attachment"
        self.headers: dict[str, str] = dict(headers) if headers else {}


class Message:
    """An e-mail as the application writes it.

    Addresses are ``"a@b.org"``, ``"Name <a@b.org>"`` or ``("Name", "a@b.org")``; one address may stand where a
    list belongs. Texts may be lazy strings. What is wrong with a message is said when it is sent.

    :param recipients: the To header.
    :param body: the plain text; made from ``html`` where it is left out.
    :param alts: further versions of the text, by text subtype (``{"calendar": ics}``), the preferred one last.
    :param sender: ``MAIL_DEFAULT_SENDER`` where it is left out.
    :param bcc: recipients whom the others do not see.
    :param date: Unix seconds; the moment of sending where it is left out.
    :param charset: of the texts; UTF-8 where it is left out.
    :param extra_headers: a ``Message-ID``, ``Date`` or ``Reply-To`` among them takes the place of ours.
    :param mail_options: ESMTP parameters of the MAIL command.
    :param rcpt_options: ESMTP parameters of the RCPT commands.
    :param envelope_from: where bounces go, ``"<>"`` for nowhere; the sender where it is left out.
    :param tags: words under which the outbox and the provider file the message.
    :param metadata: facts that travel with the message and come back with its events.
    :param priority: ``"high"``, ``"normal"`` or ``"low"``.
    :param transport: a name of ``MAIL_TRANSPORTS``.
    """

    def __init__(
        self,
        subject: str = "",
        recipients: Iterable[Written] | Written | None = None,
        body: str | None = None,
        html: str | None = None,
        alts: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        sender: Written | None = None,
        cc: Iterable[Written] | Written | None = None,
        bcc: Iterable[Written] | Written | None = None,
        attachments: list[Attachment] | None = None,
        reply_to: Written | list[Written] | None = None,
        date: float | None = None,
        charset: str | None = None,
        extra_headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        mail_options: list[str] | None = None,
        rcpt_options: list[str] | None = None,
        *,
        envelope_from: Written | None = None,
        tags: str | Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
        priority: str | None = None,
        transport: str | None = None,
    ) -> None:
        self.subject = subject
        self.recipients: list[Written] = listed(recipients)
        self.body = body
        self.alts: dict[str, str] = dict(alts) if alts else {}
        if html is not None:
            self.html = html
        self.sender = sender
        self.cc: list[Written] = listed(cc)
        self.bcc: list[Written] = listed(bcc)
        self.attachments: list[Attachment] = attachments or []
        self.reply_to = reply_to
        self.date = date
        self.charset = charset
        self.extra_headers = extra_headers
        self.mail_options: list[str] = mail_options or []
        self.rcpt_options: list[str] = rcpt_options or []
        #: The Message-ID with its angle brackets; made at sealing where there is none.
        self.msgId: str | None = None
        self.envelope_from = envelope_from
        self.tags: list[str] = [tags] if isinstance(tags, str) else list(tags)
        self.metadata: dict[str, str] = dict(metadata or {})
        self.priority = priority
        self.transport = transport

    @property
    def html(self) -> str | None:
        """The HTML version, which is one of the :attr:`alts`."""
        return self.alts.get("html")

    @html.setter
    def html(self, value: str | None) -> None:
        if value is None:
            self.alts.pop("html", None)
        else:
            self.alts["html"] = value

    @property
    def send_to(self) -> set[Written]:
        """Everyone the message goes to, as written."""
        return {*listed(self.recipients), *listed(self.cc), *listed(self.bcc)}

    def add_recipient(self, recipient: Written) -> None:
        """Add one more to the recipients."""
        self.recipients.append(recipient)

    def attach(
        self,
        filename: str | None = None,
        content_type: str | None = None,
        data: str | bytes | None = None,
        disposition: str | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    ) -> None:
        """Add an :class:`Attachment`."""
        self.attachments.append(Attachment(filename, content_type, data, disposition, headers))


def _guessed(filename: str | None, data: str | bytes) -> str:
    guessed = mimetypes.guess_type(filename)[0] if filename is not None else None
    return guessed or ("text/plain" if isinstance(data, str) else "application/octet-stream")
