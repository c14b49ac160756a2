"""A road written as a URL."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox import ConfigurationError
from flask_outbox.transports.dsn import Dsn, malformed, parse_dsn

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
