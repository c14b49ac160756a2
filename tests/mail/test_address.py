"""What people write as an address, and what is made of it."""

from __future__ import annotations

import contextlib
from email.utils import formataddr, parseaddr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.errors import AddressError, BadHeaderError, MessageError
from flask_outbox.mail.address import Address, listed, parse_address
from flask_outbox.mail.headers import mailbox, mailboxes

from .letters import Lazy, addrs, lines, modest


@pytest.mark.parametrize(
    ("written", "addr", "name"),
    [
        ("a@b.org", "a@b.org", ""),
        ("  a@b.org ", "a@b.org", ""),
        ("<a@b.org>", "a@b.org", ""),
        ("Name <a@b.org>", "a@b.org", "Name"),
        ("Name<a@b.org>", "a@b.org", "Name"),
        ("Name < a@b.org >", "a@b.org", "Name"),
        ("Name\t<a@b.org>", "a@b.org", "Name"),
        ("First  Last <a@b.org>", "a@b.org", "First Last"),
        ('"Last, First" <a@b.org>', "a@b.org", "Last, First"),
        ("Last, First <a@b.org>", "a@b.org", "Last, First"),
        ("Dr. J. Doe (Sales) <a@b.org>", "a@b.org", "Dr. J. Doe (Sales)"),
        (r'"The \"Best\" \\o/" <a@b.org>', "a@b.org", r'The "Best" \o/'),
        ('Joe "Tiger" Doe <a@b.org>', "a@b.org", "Joe Tiger Doe"),
        ('"x@y.org, z" <a@b.org>', "a@b.org", "x@y.org, z"),
        ("a@b.org <a@b.org>", "a@b.org", "a@b.org"),
        ("a@b.org (Joe)", "a@b.org", "Joe"),
        ("a@b.org(Doe, Joe)", "a@b.org", "Doe, Joe"),
        ("a@bücher.example (=?utf-8?q?J=C3=B6rg?=)", "a@xn--bcher-kva.example", "Jörg"),
        ("a@b.org ()", "a@b.org", ""),
        ("x@evil.example (Joe) <a@b.org>", "a@b.org", "x@evil.example (Joe)"),
        ("Jörg <a@b.org>", "a@b.org", "Jörg"),
        ("محمد 😀 <a@b.org>", "a@b.org", "محمد 😀"),
        ("=?utf-8?b?SsO2cmc=?= <a@b.org>", "a@b.org", "Jörg"),
        ("=?iso-8859-1?q?J=F6rg?= Doe <a@b.org>", "a@b.org", "Jörg Doe"),
        ("=?no-such-charset?q?x?= <a@b.org>", "a@b.org", "=?no-such-charset?q?x?="),
        ('"=?utf-8?q?x?=" <a@b.org>', "a@b.org", "=?utf-8?q?x?="),
        (("Name", "a@b.org"), "a@b.org", "Name"),
        (["Name", "a@b.org"], "a@b.org", "Name"),
        (("Last, First", "a@b.org"), "a@b.org", "Last, First"),
        (("=?utf-8?q?x?=", "a@b.org"), "a@b.org", "=?utf-8?q?x?="),
        (("", "a@b.org"), "a@b.org", ""),
        ((None, "a@b.org"), "a@b.org", ""),
        (Address("a@b.org", "Name"), "a@b.org", "Name"),
        (Lazy("Name <a@b.org>"), "a@b.org", "Name"),
        ((Lazy("Naïve"), Lazy("a@b.org")), "a@b.org", "Naïve"),
        ("a.b+c_d-e'f@b.org", "a.b+c_d-e'f@b.org", ""),
        ("!#$%&'*+-/=?^_`{|}~@b.org", "!#$%&'*+-/=?^_`{|}~@b.org", ""),
        ("a@localhost", "a@localhost", ""),
        ("a@my_host.b.org", "a@my_host.b.org", ""),
        ("a@[192.0.2.1]", "a@[192.0.2.1]", ""),
        ("a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]", ""),
        ('"john doe"@b.org', '"john doe"@b.org', ""),
        ('"a@b"@b.org', '"a@b"@b.org', ""),
        ('Name <"a..b"@b.org>', '"a..b"@b.org', "Name"),
        (r'"a\"b"@b.org', r'"a\"b"@b.org', ""),
        ("a@bücher.example", "a@xn--bcher-kva.example", ""),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example", ""),
        ("a@例え。jp", "a@xn--r8jz45g.jp", ""),
        ("a@faß.de", "a@xn--fa-hia.de", ""),
        ("Name <дядя@пример.рф>", "дядя@xn--e1afmkfd.xn--p1ai", "Name"),
        ("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v", ""),
        ("A@B.org", "A@B.org", ""),
        (f"{'a' * 64}@b.org", f"{'a' * 64}@b.org", ""),
    ],
)
def test_a_written_address_is_read_as_meant(written: object, addr: str, name: str) -> None:
    assert parse_address(written, "cc") == Address(addr, name)


@pytest.mark.parametrize(
    ("written", "cure"),
    [
        ("", "leave the field out"),
        ("  ", "leave the field out"),
        ("joe", "write 'name@example.org'"),
        ("@b.org", "write 'name@example.org'"),
        ("a@", "write 'name@example.org'"),
        ("a@b@c.org", "write 'name@example.org'"),
        ("a b@c.org", "write 'name@example.org'"),
        ("a@b .org", "write 'name@example.org'"),
        ("a@b.org (Joe", "write 'name@example.org'"),
        ("a@b.org (J(o)e)", "write 'name@example.org'"),
        ("Joe <a@b.org> (x)", "write 'name@example.org'"),
        ("joe(x)@b.org", "write 'name@example.org'"),
        ("a@[x>y]", "write 'name@example.org'"),
        ('a@["x"]', "write 'name@example.org'"),
        ("mailto:a@b.org", "write 'name@example.org'"),
        ("Joe <a@b.org", "write 'name@example.org'"),
        ("Joe <>", "write 'name@example.org'"),
        ('Joe "x <a@b.org>', "write 'name@example.org'"),
        ("<@relay.org:a@b.org>", "write 'name@example.org'"),
        ("a@-b.org", "write 'name@example.org'"),
        ("a@b-.org", "write 'name@example.org'"),
        ("a@b..org", "is not an address"),
        ("a@b.org.", "write 'name@example.org'"),
        ("a@[1.2.3.4", "write 'name@example.org'"),
        (f"a@{'b' * 64}.org", "write 'name@example.org'"),
        ("a..b@c.org", "must be quoted"),
        ("a.@c.org", "must be quoted"),
        ("Joe <.a@c.org>", "must be quoted"),
        ("a@b.org, c@d.org", "as a list, ["),
        ("a@b.org; c@d.org", "as a list, ["),
        ("a@b.org,", "as a list, ["),
        ("Joe <a@b.org>;", "as a list, ["),
        ("A <a@b.org>, C <c@d.org>", "as a list, ["),
        ("a@b.org, C <c@d.org>", "as a list, ["),
        ("Team: a@b.org, c@d.org;", "groups are not mailed"),
        ("undisclosed-recipients:;", "groups are not mailed"),
        ("a@b.org:;", "groups are not mailed"),
        (("a@b.org", "Name"), "the name comes first"),
        (("Name", "a@b.org", "x"), "not a pair"),
        (("Name", "Other <a@b.org>"), "write 'name@example.org'"),
        (f"{'a' * 65}@b.org", "longer than RFC 5321 allows"),
        (f"{'ü' * 33}@b.org", "longer than RFC 5321 allows"),
        (f"a@{'.'.join(['b' * 60] * 5)}", "longer than RFC 5321 allows"),
        (f"a@{'ü' * 300}.org", "longer than RFC 5321 allows"),
        (f"{'n' * 2000} <a@b.org>", "longer than RFC 5321 allows"),
        (("Name", f"{'@' * 2000}b.org"), "longer than RFC 5321 allows"),
        ("a@☃.net", "IDNA 2008"),
        ("a@ü-.com", "IDNA 2008"),
        ("a@ℹ︎/x.org", "IDNA 2008"),
        ("a\u200b@b.org", "invisible character"),
        ("a\u202e@b.org", "invisible character"),
    ],
)
def test_what_is_no_address_is_refused_with_the_cure(written: object, cure: str) -> None:
    with pytest.raises(AddressError, match=r"^cc: ") as caught:
        parse_address(written, "cc")
    assert cure in str(caught.value)
    assert caught.value.field == "cc"


@pytest.mark.parametrize(
    "control", ["\r\n", "\n", "\r", "\0", "\x0b", "\x1e", "\x7f", "\x85", "\u2028", "\u2029"]
)
@pytest.mark.parametrize(
    "form",
    [
        "a@b.org{}",
        "{}a@b.org",
        "a{}@b.org",
        "a@b{}.org",
        "Na{}me <a@b.org>",
        '"Na{}me" <a@b.org>',
        '"a{}"@b.org',
        ("Na{}me", "a@b.org"),
        ("Name", "a@b.org{}"),
    ],
)
def test_a_control_character_is_refused_wherever_it_stands(
    form: str | tuple[str, str], control: str
) -> None:
    written = (
        form.format(control)
        if isinstance(form, str)
        else tuple(part.format(control) for part in form)
    )
    with pytest.raises(BadHeaderError) as caught:
        parse_address(written, "reply_to")
    assert caught.value.field == "reply_to"


def test_a_line_break_hidden_in_an_encoded_word_is_refused() -> None:
    with pytest.raises(BadHeaderError):
        parse_address("=?utf-8?q?x=0D=0ABcc:_y@z.org?= <a@b.org>", "sender")


@pytest.mark.parametrize("written", [None, b"a@b.org", ("Name", b"a@b.org"), "\ud83d <a@b.org>"])
def test_what_is_no_text_is_refused(written: object) -> None:
    with pytest.raises(MessageError) as caught:
        parse_address(written, "sender")
    assert caught.value.field == "sender"


#: The forms of RFC 5322 appendix A, and others that people write, which the standard library reads the same way.
ALIKE = [
    "John Doe <jdoe@machine.example>",  # A.1.1
    "Mary Smith <mary@example.net>",
    '"Joe Q. Public" <john.q.public@example.com>',  # A.1.2
    "Mary Smith <mary@x.test>",
    "jdoe@example.org",
    "Who? <one@y.test>",
    "<boss@nil.test>",
    r'"Giant; \"Big\" Box" <sysservices@example.net>',
    '"Mary Smith: Personal Account" <smith@home.example>',  # A.2
    "Joe Q. Public <john.q.public@example.com>",  # A.6.1
    "Mary Smith          <mary@example.net>",  # A.6.3, unfolded
    "jdoe@example.org (John Doe)",
    "jdoe@example.org(Doe, John)",
    "John Doe (Sales) <jdoe@example.org>",
    '"John" "Doe" <jdoe@example.org>',
    "'John' <jdoe@example.org>",
    r"John\Doe <jdoe@example.org>",
    "Jörg <joerg@example.org>",
    '"" <jdoe@example.org>',
    '"john@doe"@example.org',
    '"john doe"@example.org',
    '"john..doe"@example.org',
]

_LOSES = "the library takes the first of several and drops the others"
_GUESSES = (
    "the library makes an address out of what is none, and the mail goes somewhere or nowhere"
)
_LEGAL = "legal for a machine, written by no one; refused rather than rewritten"
_NAME = "the name is what people mean by it, and needs no quotes"

#: Those it reads differently, with what it makes of them and why we do not.
APART = [
    ("Mary <mary@x.test>, jdoe@example.org", ("Mary", "mary@x.test"), None, _LOSES),  # A.1.2
    ("A Group:Ed <c@a.test>,joe@where.test;", ("Ed", "c@a.test"), None, _LOSES),  # A.1.3
    ("Undisclosed recipients:;", ("", ""), None, _LOSES),
    ("(Empty)Hidden recipients  :(no one)  ;", ("", ""), None, _LOSES),  # A.5
    (
        "Pete(A nice chap) <pete(his account)@silly.test(his host)>",
        ("Pete (A nice chap his account his host)", "pete@silly.test"),
        None,
        _LEGAL,
    ),
    ("Mary <@node.test:mary@example.net>", ("Mary", "mary@example.net"), None, _LEGAL),  # A.6.1
    ("jdoe@test  . example", ("", "jdoe@test.example"), None, _LEGAL),
    ("John <jdoe@machine(x).  example>", ("John (x)", "jdoe@machine.example"), None, _LEGAL),
    ("John <jdoe@example.org> (x)", ("John", "jdoe@example.org"), None, _LEGAL),
    ("", ("", ""), None, _GUESSES),
    ("joe", ("", "joe"), None, _GUESSES),
    ("John <jdoe@example.org", ("John", "jdoe@example.org"), None, _GUESSES),
    ("jdoe@example.org>", ("", "jdoe@example.org"), None, _GUESSES),
    ("jdoe@example.org)x@evil.test", ("", "jdoe@example.org"), None, _GUESSES),
    ("<jdoe@example.org> John", ("", "jdoe@example.org"), None, _GUESSES),
    ("John jdoe@example.org", ("", "John jdoe@example.org"), None, _GUESSES),
    ("mailto:jdoe@example.org", ("", "jdoe@example.org"), None, _GUESSES),
    ("jdoe@example.org.", ("", "jdoe@example.org."), None, _GUESSES),
    ("john..doe@example.org", ("", "john..doe@example.org"), None, _GUESSES),
    ("jdoe@[x>y]", ("", "jdoe@[x>y]"), None, _GUESSES),
    ("jdoe@example.org\nBcc: x@y.test", ("", "jdoe@example.org"), None, _GUESSES),
    ("Doe, John <jdoe@example.org>", ("", "Doe"), ("Doe, John", "jdoe@example.org"), _NAME),
    ("Doe: J <jdoe@example.org>", ("J", "jdoe@example.org"), ("Doe: J", "jdoe@example.org"), _NAME),
    ("Doe; J <jdoe@example.org>", ("", "Doe"), ("Doe; J", "jdoe@example.org"), _NAME),
    ("[Sales] <jdoe@example.org>", ("", ""), ("[Sales]", "jdoe@example.org"), _NAME),
    ("a@b.org <c@b.org>", ("", "a@b.org"), ("a@b.org", "c@b.org"), _NAME),
    (
        "=?utf-8?b?SsO2cmc=?= <joerg@example.org>",
        ("=?utf-8?b?SsO2cmc=?=", "joerg@example.org"),
        ("Jörg", "joerg@example.org"),
        "the words are decoded, so that they are not encoded twice",
    ),
    (
        "jdoe@bücher.example",
        ("", "jdoe@bücher.example"),
        ("", "jdoe@xn--bcher-kva.example"),
        "the domain is looked up in its ASCII form",
    ),
]


@pytest.mark.parametrize("written", ALIKE)
def test_the_forms_of_the_standard_are_read_as_the_standard_library_does(written: str) -> None:
    found = parse_address(written, "to")
    assert (found.name, found.addr) == parseaddr(written)


@pytest.mark.parametrize(
    ("written", "expected"), [(written, ours) for written, _, ours, _ in APART if ours]
)
def test_a_form_read_unlike_the_standard_library_is_read_as_listed(
    written: str, expected: tuple[str, str]
) -> None:
    found = parse_address(written, "to")
    assert (found.name, found.addr) == expected


@pytest.mark.parametrize("written", [written for written, _, ours, _ in APART if ours is None])
def test_a_form_that_only_the_standard_library_reads_is_refused(written: str) -> None:
    with pytest.raises(MessageError):
        parse_address(written, "to")


# Newer Pythons refuse some forms that older ones guessed at.
@pytest.mark.parametrize(("written", "theirs", "ours"), [row[:3] for row in APART])
def test_each_listed_difference_is_one(
    written: str, theirs: tuple[str, str], ours: tuple[str, str] | None
) -> None:
    assert parseaddr(written) in (theirs, ("", ""))
    assert theirs != ours


@modest
@given(lines, addrs)
def test_what_we_write_is_read_back(name: str, addr: str) -> None:
    address = parse_address(Address(addr, name), "to")
    assert parse_address(" ".join(mailbox(address)), "to") == address


@modest
@given(st.text())
def test_what_was_read_is_read_the_same_again(written: str) -> None:
    with contextlib.suppress(MessageError):
        address = parse_address(written, "to")
        assert parse_address(address, "to") == address


@modest
@given(st.one_of(st.text(), st.tuples(st.text(), st.text())))
def test_no_address_makes_a_second_header(written: str | tuple[str, str]) -> None:
    with contextlib.suppress(MessageError):
        field = mailboxes("To", [parse_address(written, "to")])
        assert all(line.startswith(" ") for line in field.splitlines()[1:])


@modest
@given(lines, addrs)
def test_what_the_standard_library_writes_is_read_back(name: str, addr: str) -> None:
    name = " ".join(name.split())
    if not name.isascii():
        assert parse_address(formataddr((name, addr)), "to") == Address(addr, name)
    elif "=?" not in name:
        assert parse_address(formataddr((name, addr)), "to").addr == addr


@modest
@given(lines, addrs)
def test_a_pair_keeps_its_name_as_it_stands(name: str, addr: str) -> None:
    if "@" not in name:
        assert parse_address((name, addr), "to") == Address(addr, name.replace("\t", " ").strip())


@modest
@given(st.text())
def test_whatever_is_written_gives_an_address_or_a_message_error(written: str) -> None:
    with contextlib.suppress(MessageError):
        found = parse_address(written, "to")
        assert "@" in found.addr
        assert found.addr.splitlines() == [found.addr]


def test_a_local_part_beyond_ascii_needs_smtputf8() -> None:
    assert parse_address("дядя@пример.рф", "to").needs_smtputf8


def test_a_domain_beyond_ascii_does_not() -> None:
    assert not parse_address("a@bücher.example", "to").needs_smtputf8


def test_the_domain_is_what_follows_the_last_at() -> None:
    assert Address('"a@b"@example.org').domain == "example.org"


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (None, []),
        ("", []),
        ([], []),
        ("a@b.org", ["a@b.org"]),
        (("Name", "a@b.org"), ["Name", "a@b.org"]),
        (("a@b.org", "c@d.org"), ["a@b.org", "c@d.org"]),
        ((("Name", "a@b.org"), ("Other", "c@d.org")), [("Name", "a@b.org"), ("Other", "c@d.org")]),
        (Address("a@b.org"), [Address("a@b.org")]),
        (iter(["a@b.org", "c@d.org"]), ["a@b.org", "c@d.org"]),
        ({"a@b.org": 1}.keys(), ["a@b.org"]),
    ],
)
def test_a_field_of_many_takes_one_or_many(given_: object, expected: list[object]) -> None:
    assert listed(given_) == expected


def test_a_lazy_string_is_one_address_and_no_list_of_characters() -> None:
    lazy = Lazy("a@b.org")
    assert listed(lazy) == [lazy]


def test_a_list_is_the_same_list_so_that_it_can_be_added_to() -> None:
    recipients = ["a@b.org"]
    assert listed(recipients) is recipients
