"""Messages of the standard library turned into drafts, and what a parser sees when these are sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from email import message_from_bytes, policy
from email.header import Header
from email.message import EmailMessage
from email.message import Message as LegacyMessage
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.image import MIMEImage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formataddr, formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_outbox.errors import BadHeaderError, MessageError
from flask_outbox.mail.foreign import from_foreign
from flask_outbox.mail.mime import compose

from .letters import addrs, letter, lines, modest
from .reading import assert_legal, parse


def sent(foreign: LegacyMessage) -> EmailMessage:
    return parse(compose(letter(from_foreign(foreign))))


def message(kind: type[LegacyMessage] = EmailMessage, **headers: str) -> Any:
    made = kind()
    for name, value in ({"From": "me@b.org", "To": "a@b.org"} | headers).items():
        made[name.replace("_", "-")] = value
    return made


def leaves(root: EmailMessage) -> list[tuple[object, ...]]:
    """The parts that hold something: type, content, name, disposition and id."""
    found: list[tuple[object, ...]] = []
    for part in _leaves(root):
        kind = part.get_content_type()
        content: object = part.get_payload(decode=True) or b""
        if kind == "message/rfc822":
            content = re.sub(rb"\r?\n", b"\n", bytes(part.get_payload(0)))
        elif part.get_content_maintype() == "text":
            text = content.decode(part.get_content_charset("ascii"))  # type: ignore[attr-defined]
            content = re.sub("\r\n?|\n", "\n", text).removesuffix("\n")
        disposition = part.get_content_disposition() or "inline"
        found.append((kind, content, part.get_filename(), disposition, part["content-id"]))
    return found


def _leaves(entity: EmailMessage) -> list[EmailMessage]:
    if not entity.is_multipart() or entity.get_content_type() == "message/rfc822":
        return [entity]
    return [leaf for part in entity.get_payload() for leaf in _leaves(part)]


def headers(root: EmailMessage) -> dict[str, object]:
    """What the header says, without the spaces in free text: Python's folding loses those between encoded words."""
    found: dict[str, object] = {}
    for name in ("From", "To", "Cc", "Reply-To"):
        if root[name] and root[name].addresses:
            found[name] = [(a.display_name, a.addr_spec) for a in root[name].addresses]
    for name in ("Subject", "X-Own"):
        if root[name] and root[name].strip():
            found[name] = "".join(root[name].split())
    return found | {"Date": root["Date"].datetime.timestamp(), "Message-ID": root["Message-ID"]}


# -- properties --------------------------------------------------------------------------------------------------

few = settings(modest, max_examples=30)

HTML = "<p>Hällo <img src='cid:logo@b.org'>"
NAMES = st.text("abc üß中;\"'%.", min_size=1, max_size=12).map(str.strip).filter(bool)
TEXTS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["C"]), max_size=40), lines)
MODERN_FILES = st.lists(st.tuples(NAMES, st.binary(max_size=80), st.booleans()), max_size=3)


@st.composite
def modern(draw: Callable[..., Any]) -> EmailMessage:
    """An EmailMessage as its own methods build it."""
    root = EmailMessage()
    root["From"] = draw(addrs)
    root["To"] = ", ".join(draw(st.lists(addrs, min_size=1, max_size=3, unique=True)))
    root["Subject"] = draw(lines).replace("\t", " ")
    root["X-Own"] = draw(st.sampled_from(["plain", "Grüße", "a " * 60]))
    root["Date"] = formatdate(1_000_000_000)
    root["Message-ID"] = "<own@b.org>"
    text, html = draw(TEXTS), draw(st.booleans())
    if text is not None:
        root.set_content(text)
        if html:
            root.add_alternative(HTML, subtype="html")
    elif html:
        root.set_content(HTML, subtype="html")
    if html and draw(st.booleans()):
        shown = root.get_payload()[1] if text is not None else root
        shown.add_related(b"PNG", "image", "png", cid="<logo@b.org>", disposition="inline")
    if text is not None or html:
        for name, data, as_text in draw(MODERN_FILES):
            if as_text:
                root.add_attachment(data.hex(), subtype="csv", filename=name)
            else:
                root.add_attachment(data, "application", "x-own", filename=name)
    return root


@st.composite
def legacy(draw: Callable[..., Any]) -> LegacyMessage:
    """A message of the MIME classes, as programs of before Python 3.6 build it."""
    text = MIMEText(draw(TEXTS) or "", "plain", "utf-8")
    body: LegacyMessage = text
    if draw(st.booleans()):
        body = MIMEMultipart("alternative", None, [text, MIMEText(HTML, "html", "utf-8")])
    root = MIMEMultipart("mixed", None, [body]) if draw(st.booleans()) else body
    if root is not body:
        for name, data, as_text in draw(MODERN_FILES):
            part = MIMEText(data.hex()) if as_text else MIMEApplication(data, "x-own")
            part.add_header("Content-Disposition", "attachment", filename=("utf-8", "", name))
            root.attach(part)
    root["From"] = formataddr(("Jörg", draw(addrs)))
    root["To"] = ", ".join(draw(st.lists(addrs, min_size=1, max_size=3, unique=True)))
    root["Subject"] = Header(draw(lines).replace("\t", " "), "utf-8")
    root["X-Own"] = draw(st.sampled_from(["plain", Header("Grüße", "utf-8")]))
    root["Date"] = formatdate(1_000_000_000)
    root["Message-ID"] = "<own@b.org>"
    return root


def as_parsed(foreign: LegacyMessage) -> EmailMessage:
    return message_from_bytes(foreign.as_bytes(), policy=policy.default)


@modest
@given(st.one_of(modern(), legacy()))
def test_what_is_sent_says_what_the_message_said(foreign: LegacyMessage) -> None:
    theirs, ours = as_parsed(foreign), sent(foreign)
    assert headers(ours) == headers(theirs)
    expected, found = leaves(theirs), leaves(ours)
    # An empty version is no version, and HTML without a text gets one.
    expected = [leaf for leaf in expected if leaf[1] or leaf[2]]
    found = [leaf for leaf in found if leaf[1] or leaf[2]]
    if expected and found[0][0] == "text/plain" and expected[0][0] == "text/html":
        found = found[1:]
    assert found == expected


@few
@given(st.one_of(modern(), legacy()))
def test_what_was_parsed_from_bytes_is_sent_alike(foreign: LegacyMessage) -> None:
    for kind in (policy.default, policy.compat32):
        read = message_from_bytes(foreign.as_bytes(), policy=kind)
        assert leaves(sent(read)) == leaves(sent(foreign))


@few
@given(st.one_of(modern(), legacy()))
def test_a_message_stays_as_it_is(foreign: LegacyMessage) -> None:
    before = foreign.as_bytes()
    from_foreign(foreign)
    assert foreign.as_bytes() == before


# -- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EmailMessage, LegacyMessage])
def test_blind_copies_are_recipients_and_in_no_header(kind: type[LegacyMessage]) -> None:
    sealed = letter(from_foreign(message(kind, Bcc="x@y.org")))
    assert sealed.envelope_to == ("a@b.org", "x@y.org")
    assert b"x@y.org" not in compose(sealed)


@pytest.mark.parametrize("kind", [EmailMessage, LegacyMessage])
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"Last, First" <a@b.org>, c@d.org', [("Last, First", "a@b.org"), ("", "c@d.org")]),
        ("=?utf-8?q?J=C3=B6rg?= <a@b.org>", [("Jörg", "a@b.org")]),
        ("=?utf-8?q?M=2C_J?= <a@b.org>", [("M, J", "a@b.org")]),
        ("Joe Q. Public <a@b.org>", [("Joe Q. Public", "a@b.org")]),
        ("a@bücher.example", [("", "a@bücher.example")]),
        ("Undisclosed recipients:;", []),
    ],
)
def test_lists_of_addresses_are_read(
    kind: type[LegacyMessage], written: str, expected: list[tuple[str, str]]
) -> None:
    assert from_foreign(message(kind, To=written)).recipients == expected


@pytest.mark.parametrize("kind", [EmailMessage, LegacyMessage])
@pytest.mark.parametrize(
    ("given_", "field", "says"),
    [
        ({"To": "Team: a@b.org, c@d.org;"}, "recipients", "the group 'Team' is not mailed"),
        ({"To": "Joe <a@b.org"}, "recipients", "cannot be read as addresses"),
        ({"Cc": "Last, First <a@b.org>"}, "cc", "cannot be read as addresses"),
        ({"From": "a@b.org, c@d.org"}, "sender", "exactly one sender"),
        ({"Date": "tomorrow"}, "date", "not a date"),
        ({"Resent_To": "x@y.org"}, "Resent-To", "set From, To and Cc"),
        ({"DKIM_Signature": "v=1"}, "DKIM-Signature", "MAIL_DKIM_KEY"),
    ],
)
def test_a_header_that_no_draft_can_keep_is_refused(
    kind: type[LegacyMessage], given_: dict[str, str], field: str, says: str
) -> None:
    with pytest.raises(MessageError, match=says) as caught:
        from_foreign(message(kind, **given_))
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["Subject", "To", "Reply-To", "X-Own", "Message-ID", "Date"])
@pytest.mark.parametrize("value", ["a@b.org\nBcc: x@y.z", "a@b.org\r\n\r\nbody", "a@b.org\0"])
def test_a_line_break_in_an_older_message_is_refused(name: str, value: str) -> None:
    foreign = LegacyMessage()
    foreign[name] = value
    with pytest.raises(BadHeaderError):
        from_foreign(foreign)


@pytest.mark.parametrize("kind", [policy.default, policy.compat32])
@pytest.mark.parametrize("name", [b"Subject", b"To"])
def test_a_line_break_in_an_encoded_word_is_refused(kind: Any, name: bytes) -> None:
    content = name + b": =?utf-8?q?x=0D=0ABcc=3A_y=40z.org?= <a@b.org>\n\n"
    with pytest.raises(MessageError):
        letter(from_foreign(message_from_bytes(content, policy=kind)))


@pytest.mark.parametrize(
    "content_type",
    [
        'text/plain; format=flowed; name="=?utf-8?q?=0D=0AX-Own:_1?="',
        "text/plain; format=flowed; name*=utf-8''%0D%0AX-Own:%201",
        "text/plain; format=flowed; name=a\udc0a",
    ],
)
@pytest.mark.parametrize("kind", [EmailMessage, LegacyMessage])
def test_a_line_break_in_a_part_that_is_kept_whole_is_refused(
    kind: type[LegacyMessage], content_type: str
) -> None:
    part = LegacyMessage()
    part["Content-Type"] = content_type
    root = message(kind, Content_Type="multipart/mixed")
    root.attach(part)
    with pytest.raises(MessageError):
        from_foreign(root)


def test_a_header_in_plain_utf8_is_read() -> None:
    content = "Subject: Grüße\nX-Own: Bücher\n\n".encode()
    for kind in (policy.default, policy.compat32):
        draft = from_foreign(message_from_bytes(content, policy=kind))
        assert (draft.subject, draft.extra_headers) == ("Grüße", [("X-Own", "Bücher")])


def test_a_header_in_no_charset_is_refused() -> None:
    with pytest.raises(MessageError, match="subject: holds half a surrogate pair"):
        from_foreign(message_from_bytes(b"Subject: Gr\xfc\n\n"))


def test_a_folded_header_is_one_line() -> None:
    foreign = message(LegacyMessage, Subject="one\n two", X_Own="three\r\n\tfour")
    draft = from_foreign(foreign)
    assert (draft.subject, draft.extra_headers) == ("one two", [("X-Own", "three four")])


def test_further_headers_keep_their_order_and_may_repeat() -> None:
    foreign = message(X_B="1", X_A="2")
    foreign["X-B"] = "3"
    assert from_foreign(foreign).extra_headers == [("X-B", "1"), ("X-A", "2"), ("X-B", "3")]


def test_bounces_go_to_the_sender_header_as_in_smtplib() -> None:
    draft = from_foreign(message(Sender="robot@b.org"))
    assert letter(draft).envelope_from == "robot@b.org"
    assert draft.extra_headers == [("Sender", "robot@b.org")]


def test_a_date_in_an_unknown_zone_is_utc() -> None:
    draft = from_foreign(message(Date="Thu, 01 Jan 1970 00:01:00 -0000"))
    assert draft.date == 60.0


# -- content -----------------------------------------------------------------------------------------------------


def test_a_message_without_content_is_empty() -> None:
    assert leaves(sent(message()))[0][:2] == ("text/plain", "")


def test_a_calendar_among_the_alternatives_keeps_its_parameters() -> None:
    foreign = message()
    foreign.set_content("Text")
    foreign.add_alternative("BEGIN", subtype="calendar", params={"method": "REQUEST"})
    ours = sent(foreign).get_payload()[1]
    assert (ours.get_content_type(), ours["content-type"].params["method"]) == (
        "text/calendar",
        "REQUEST",
    )


def test_pictures_around_all_alternatives_stand_with_the_html() -> None:
    """The tree of some programs: related over alternative. It is ours with the same leaves."""
    alternative = MIMEMultipart(
        "alternative", None, [MIMEText("x"), MIMEText(HTML, "html", "utf-8")]
    )
    picture = MIMEImage(b"PNG", _subtype="png")
    picture["Content-ID"] = "<logo@b.org>"
    root = MIMEMultipart("related", None, [alternative, picture])
    root["From"], root["To"] = "me@b.org", "a@b.org"
    kinds = [part.get_content_type() for part in sent(root).walk()]
    assert kinds == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]


def test_an_attached_message_is_attached_as_one() -> None:
    inner = message(Subject="Grüße")
    inner.set_content("Hällo")
    outer = message()
    outer.set_content("See below")
    outer.add_attachment(inner)
    kind, content, *_ = leaves(sent(outer))[1]
    assert kind == "message/rfc822"
    assert parse(content)["Subject"] == "Grüße"
    assert parse(content).get_content() == "Hällo\n"


def test_a_text_in_another_charset_is_the_same_text() -> None:
    foreign = message()
    foreign.set_content("Grüße", charset="iso-8859-1")
    assert leaves(sent(foreign))[0][1] == "Grüße"


def _signed() -> LegacyMessage:
    signature = MIMEApplication(b"signature", "pgp-signature")
    return MIMEMultipart(
        "signed", None, [MIMEText("x"), signature], protocol="application/pgp-signature"
    )


def _flowed() -> LegacyMessage:
    part = MIMEText("x")
    part.set_param("format", "flowed")
    return part


def _encrypted() -> LegacyMessage:
    part = MIMEBase("application", "pkcs7-mime", name="smime.p7m")
    part.set_payload("AAAA")
    part["Content-Transfer-Encoding"] = "base64"
    part["Content-Disposition"] = "attachment; filename=smime.p7m"
    return part


def _noted(part: LegacyMessage) -> LegacyMessage:
    part["Content-Description"] = "a note"
    return part


def _dated() -> LegacyMessage:
    part = MIMEApplication(b"x")
    part["Content-Disposition"] = 'attachment; filename=a; size="1"'
    return part


@pytest.mark.parametrize(
    "root",
    [
        _signed(),
        _flowed(),
        _encrypted(),
        _noted(MIMEText("x")),
        MIMEImage(b"PNG", _subtype="png"),
        MIMEMultipart("digest", None, [MIMEMessage(MIMEText("x"))]),
        MIMEMultipart("report", None, [MIMEText("x")], report_type="delivery-status"),
        MIMEMultipart("mixed", None, [MIMEMultipart("mixed", None, [MIMEText("x")])]),
        MIMEMultipart("mixed", None, [_noted(MIMEText("x"))]),
        MIMEMultipart("mixed", None, [MIMEText("x"), _dated()]),
        MIMEMultipart("mixed", None, [MIMEText("x"), _signed()]),
        MIMEMultipart("alternative", None, [MIMEText("x", "html"), MIMEText("x")]),
        MIMEMultipart("alternative", None, [MIMEText("x"), MIMEText("y")]),
        MIMEMultipart("alternative", None, [MIMEText("x"), MIMEApplication(b"x")]),
        MIMEMultipart("related", None, [MIMEText(HTML, "html"), MIMEImage(b"x", _subtype="png")]),
        MIMEMultipart("related", None, [MIMEText("x", "html")], start="<other>"),
    ],
    ids=lambda root: root.get_content_type(),
)
def test_what_no_field_expresses_is_sent_as_it_stands(root: LegacyMessage) -> None:
    root["From"], root["To"], root["Subject"] = "me@b.org", "a@b.org", "Hi"
    theirs = as_parsed(root)
    content = compose(letter(from_foreign(root)))
    assert_legal(content)
    ours = parse(content)
    assert [part.get_content_type() for part in ours.walk()] == [
        part.get_content_type() for part in theirs.walk()
    ]
    assert content.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n").rstrip() == (
        root.as_bytes().partition(b"\n\n")[2].rstrip()
    )
    assert (ours["Subject"], ours["To"]) == ("Hi", "a@b.org")


def test_a_signed_part_is_not_touched() -> None:
    signed = _signed()
    signed["To"] = "a@b.org"
    part = signed.get_payload()[0].as_bytes(policy=policy.compat32.clone(linesep="\r\n"))
    assert part in compose(letter(from_foreign(signed)))


def test_content_that_the_library_cannot_write_is_refused() -> None:
    foreign = message(LegacyMessage)
    foreign.set_payload("Grüße")
    with pytest.raises(MessageError, match="the standard library cannot write it") as caught:
        from_foreign(foreign)
    assert caught.value.field == "message"


def test_a_file_of_text_without_a_charset_is_refused() -> None:
    part = MIMEBase("application", "x-own")
    part.set_payload("Grüße")
    with pytest.raises(MessageError, match="the standard library cannot write it"):
        from_foreign(MIMEMultipart("mixed", None, [part]))


@pytest.mark.parametrize("kind", [policy.default, policy.compat32])
def test_8bit_content_that_is_kept_whole_is_encoded(kind: Any) -> None:
    content = (
        "Content-Type: text/plain; charset=utf-8; format=flowed\nTo: a@b.org\n\nGrüße\n".encode()
    )
    ours = sent(message_from_bytes(content, policy=kind))
    assert (ours.get_content(), ours["Content-Transfer-Encoding"]) == ("Grüße\n", "base64")


def test_8bit_content_that_is_signed_is_refused_rather_than_changed() -> None:
    signed = _signed()
    content = signed.as_bytes().replace(b"\n\nx\n", b"\n\n\xff\n")
    with pytest.raises(MessageError, match="8-bit data"):
        letter(from_foreign(message_from_bytes(b"To: a@b.org\n" + content)))


def test_an_attached_message_older_than_mime_is_attached() -> None:
    inner = LegacyMessage()
    inner["Subject"] = Header("Grüße", "utf-8")
    inner.set_payload("Text")
    root = MIMEMultipart("mixed", None, [MIMEText("x"), MIMEMessage(inner)])
    root["To"] = "a@b.org"
    assert leaves(sent(root))[1][0] == "message/rfc822"
