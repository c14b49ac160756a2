"""A road written as a URL."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox import ConfigurationError
from flask_outbox.transports.dsn import Dsn, is_url, malformed, parse_dsn

# Everything that has bytes; a lone surrogate has none.
secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)


@given(secrets, secrets, st.dictionaries(names, secrets, max_size=3), st.integers(0, 65_535))
def test_whatever_is_quoted_comes_back(
    username: str, password: str, options: dict[str, str], port: int
) -> None:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    user = f"{quote(username, safe='')}:{quote(password, safe='')}"
    found = parse_dsn(f"smtp://{user}@mx.example.org:{port}?{query}", "MAIL_URL")
    assert (found.username, found.password, found.port) == (username, password, port)
    assert (found.host, found.options) == ("mx.example.org", options)


@given(st.text(max_size=40))
def test_any_text_is_a_dsn_or_refused_without_being_shown(text: str) -> None:
    try:
        parse_dsn(text, "MAIL_URL")
    except ConfigurationError as error:
        told = error
    else:
        return
    assert str(told) == str(malformed("MAIL_URL"))
    assert told.__suppress_context__


def test_the_least_of_a_url() -> None:
    assert parse_dsn(" null:// \n", "MAIL_URL") == Dsn("null")


def test_an_address_may_be_of_ip_version_6() -> None:
    assert parse_dsn("smtp://[::1]:25", "MAIL_URL") == Dsn("smtp", host="::1", port=25)


def test_a_plus_is_a_plus() -> None:
    found = parse_dsn("smtp://a+b:c+d@host?ca=/etc/a+b.pem", "MAIL_URL")
    assert (found.username, found.password) == ("a+b", "c+d")
    assert found.options == {"ca": "/etc/a+b.pem"}


def test_the_repr_holds_no_password() -> None:
    assert "secret" not in repr(parse_dsn("smtp://me:secret@host", "MAIL_URL"))


@pytest.mark.parametrize(
    "url",
    [
        "smtp.example.org",
        "//smtp.example.org",
        "smtp://me:secret@host:port",
        "smtp://me:sec/ret@host:25",
        "smtp://me:1/secret@host:25",
        "smtp://me:1?secret@host:25",
        "smtp://me:1#secret@host:25",
        "smtp://me:%ff@host",
        "smtp://me:sec\tret@host",
        "smtp://[::1",
    ],
)
def test_what_would_be_read_wrongly_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_dsn(url, "MAIL_URL")
    assert "written as %XX" in str(caught.value)
    assert "sec" not in "".join(traceback.format_exception(caught.value))


# -- several -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "members"),
    [
        ("failover(smtp://a smtp://b)", "failover(smtp://a|smtp://b)", ["smtp", "smtp"]),
        ("roundrobin(smtp://a|null://)", "roundrobin(smtp://a|null://)", ["smtp", "null"]),
        (" failover(\n  smtp://a\n  smtp://b\n) ", "failover(smtp://a|smtp://b)", ["smtp", "smtp"]),
        (
            "failover(roundrobin(smtp://a smtp://b) smtp://c)",
            "failover(roundrobin(smtp://a|smtp://b)|smtp://c)",
            ["roundrobin", "smtp"],
        ),
        ("failover(primary smtp://b)", "failover(primary|smtp://b)", ["", "smtp"]),
        ("failover(smtp://me:p@a smtps://b)", "failover(smtp://me@a|smtps://b)", ["smtp", "smtps"]),
        ("failover(null://)", "failover(null://)", ["null"]),
    ],
)
def test_a_wrapper_holds_roads_in_brackets(text: str, name: str, members: list[str]) -> None:
    found = parse_dsn(text, "MAIL_URL")
    assert (found.scheme, found.name) == (text.strip().partition("(")[0], name)
    assert [one.scheme for one in found.members] == members


def test_the_name_of_a_wrapper_without_passwords_reads_as_the_same_wrapper() -> None:
    found = parse_dsn("failover(roundrobin(smtp://a smtps://me@b:1) file:///x%20y)", "transport")
    assert parse_dsn(found.name, "transport") == found


def test_a_wrapper_knows_its_secrets_and_its_names() -> None:
    found = parse_dsn("failover(one roundrobin(two smtp://me:secret@host))", "MAIL_URL")
    assert (found.secret, list(found.names)) == (True, ["one", "two"])
    assert "secret" not in repr(found)
    assert not parse_dsn("failover(smtp://me@host)", "MAIL_URL").secret


@pytest.mark.parametrize(
    "text",
    [
        "failover()",
        "failover( )",
        "failover(smtp://a smtp://a)",
        "failover(smtp://me:secret@a smtp://me:other@a)",
        "failover(smtp://me:sec)ret@a)",
        "failover(smtp://me:sec(ret@a)",
        "failover(smtp://me:sec ret@a)",
        "failover(smtp://me:25|secret@a)",
        "failover(smtp://me:25/secret@a)",
        "failover(smtp://me:secret@a",
        "fail(smtp://me:secret@a)",
    ],
)
def test_a_wrapper_that_would_be_read_wrongly_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"written as %") as caught:
        parse_dsn(text, "MAIL_URL")
    assert "sec" not in "".join(traceback.format_exception(caught.value))


@given(secrets)
def test_whatever_is_quoted_comes_back_out_of_a_wrapper(password: str) -> None:
    text = f"failover(smtp://me:{quote(password, safe='')}@a smtp://b)"
    assert parse_dsn(text, "MAIL_URL").members[0].password == password


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smtp://a", True),
        ("failover(smtp://a smtp://b)", True),
        ("roundrobin(a b)", True),
        ("default", False),
        ("failover", False),
    ],
)
def test_a_url_is_told_from_a_name(text: str, expected: bool) -> None:
    assert is_url(text) is expected
