"""The message: the draft an application fills in. Mutable, needs no app, and is checked when it is sealed."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterable, Mapping
from reprlib import repr as shortened
from typing import Self, cast

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

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.filename!r} {self.content_type}>"

    def __getstate__(self) -> dict[str, object]:
        return _without_laziness(vars(self))


class Message:
    """An e-mail as the application writes it.

    Addresses are ``"a@b.org"``, ``"Name <a@b.org>"`` or ``("Name", "a@b.org")``; one address may stand where a
    list belongs. Texts may be lazy strings. What is wrong with a message is said when it is sent.

    The lists and dicts given are copied: what is added to one message later is in no other. As in Flask-Mail, two
    messages are equal only if they are the same one; compare what they hold by :meth:`to_dict`.

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
    :param transport: what it goes over: a name, or a URL; see ``mail.send``.
    :param list_unsubscribe: where a reader leaves the list: an https URL, a mailto URL, or a list of both.
    :param list_unsubscribe_post: whether one click at the https URL is enough (RFC 8058).
    :param template: the name of the templates that fill in the subject, body and HTML at sending.
    :param context: what the templates are rendered with.
    :param locale: the language they are rendered in.
    :param entity: the whole content ready-made, in place of texts and attachments, for what these cannot express
        (S/MIME, PGP): a MIME entity with its ``Content-Type`` header, in seven bits.
    """

    #: What the templates filled in last, by field: what they may fill in anew.
    rendered: Mapping[str, str] | None = None

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
        attachments: Iterable[Attachment] | None = None,
        reply_to: Written | list[Written] | None = None,
        date: float | None = None,
        charset: str | None = None,
        extra_headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        mail_options: str | Iterable[str] | None = None,
        rcpt_options: str | Iterable[str] | None = None,
        *,
        envelope_from: Written | None = None,
        tags: str | Iterable[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: str | None = None,
        transport: str | None = None,
        list_unsubscribe: str | Iterable[str] | None = None,
        list_unsubscribe_post: bool = True,
        template: str | None = None,
        context: Mapping[str, object] | None = None,
        locale: str | None = None,
        entity: bytes | None = None,
    ) -> None:
        self.subject: str = subject
        self.recipients: list[Written] = [*listed(recipients)] if recipients else []
        self.body: str | None = body
        self.alts: dict[str, str] = dict(alts) if alts else {}
        if html is not None:
            self.alts["html"] = html
        self.sender: Written | None = sender
        self.cc: list[Written] = [*listed(cc)] if cc else []
        self.bcc: list[Written] = [*listed(bcc)] if bcc else []
        self.attachments: list[Attachment] = [*attachments] if attachments else []
        self.reply_to: Written | list[Written] | None = (
            [*reply_to] if isinstance(reply_to, list) else reply_to
        )
        self.date: float | None = date
        self.charset = charset
        self.extra_headers: Mapping[str, str] | list[tuple[str, str]] | None = (
            _copied(extra_headers) if extra_headers else None
        )
        self.mail_options: list[str] = _words(mail_options) if mail_options else []
        self.rcpt_options: list[str] = _words(rcpt_options) if rcpt_options else []
        #: The Message-ID with its angle brackets; made at sealing where there is none.
        self.msgId: str | None = None
        self.envelope_from = envelope_from
        self.tags: list[str] = _words(tags) if tags else []
        self.metadata: dict[str, str] = dict(metadata) if metadata else {}
        self.priority = priority
        self.transport = transport
        self.list_unsubscribe: list[str] | None = (
            _words(list_unsubscribe) if list_unsubscribe else None
        )
        self.list_unsubscribe_post = list_unsubscribe_post
        self.template = template
        self.context: dict[str, object] = dict(context) if context else {}
        self.locale = locale
        self.entity = entity
        self._complete()

    def _complete(self) -> None:
        """Called once every field is set: for a subclass that knows what the application has for them."""

    @property
    def own_id(self) -> str | None:
        """The Message-ID that the caller chose, if any."""
        return self.msgId

    @property
    def own_date(self) -> float | None:
        """The date that the caller chose, if any."""
        return self.date

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {shortened(self.subject)} to {shortened(self.recipients)}>"

    def __getstate__(self) -> dict[str, object]:
        return _without_laziness(vars(self))

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

    def attach_inline(
        self, filename: str, data: str | bytes, content_type: str | None = None
    ) -> str:
        """Attach what the HTML shows, and give the id to show it by: ``<img src="cid:{id}">``.

        The id is made of the file's name, type and data; the same file is attached once.
        """
        shown = Attachment(filename, content_type, data, "inline")
        octets = data.encode(errors="surrogatepass") if isinstance(data, str) else data
        digest = hashlib.sha256(repr((filename, shown.content_type)).encode())
        digest.update(octets)
        content_id = f"{digest.hexdigest()[:32]}@inline"
        shown.headers["Content-ID"] = f"<{content_id}>"
        if all(vars(other) != vars(shown) for other in self.attachments):
            self.attachments.append(shown)
        return content_id

    def to_dict(self) -> dict[str, object]:
        """The message as a dict that JSON can carry, for tasks and queues of your own; lazy strings become text.

        :raises MessageError: a field holds what JSON cannot carry; ``field`` says which.
        """
        from .document import write

        return write(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, object]) -> Self:
        """The message that :meth:`to_dict` gave. What it holds is checked when it is sent, like any other.

        :raises MessageError: a field is unknown, missing or of another type; ``field`` says which.
        """
        from .document import read

        return read(document, cls)


def is_lazy(value: object) -> bool:
    """Whether it is a string that is made when it is looked at, like Flask-Babel's."""
    return not isinstance(value, str) and hasattr(value, "encode")


def _guessed(filename: str | None, data: str | bytes) -> str:
    guessed = mimetypes.guess_type(str(filename))[0] if filename is not None else None
    return guessed or ("text/plain" if isinstance(data, str) else "application/octet-stream")


def _words(given: str | Iterable[str]) -> list[str]:
    # Lazy strings can be iterated like a list.
    return [cast("str", given)] if isinstance(given, str) or is_lazy(given) else [*given]


def _copied(
    given: Mapping[str, str] | Iterable[tuple[str, str]],
) -> dict[str, str] | list[tuple[str, str]]:
    if isinstance(given, Mapping):
        return dict(cast("Mapping[str, str]", given))
    return [*given]


def _without_laziness(state: dict[str, object]) -> dict[str, object]:
    """The fields for pickling: lazy strings would become text in the reader's language, in another process."""
    return {name: _settled(value) for name, value in state.items()}


def _settled(value: object) -> object:
    if isinstance(value, list):
        return [_settled(one) for one in value]
    if type(value) is tuple:
        return tuple(_settled(one) for one in value)
    if type(value) is dict:
        return {key: _settled(one) for key, one in value.items()}
    return str(value) if is_lazy(value) else value
