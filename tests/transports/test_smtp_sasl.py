"""Logins: what the RFCs' examples say, servers that cannot prove who they are, and tokens that expire."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_outbox.rules.outcomes import Kind, Phase, Report, Scope
from flask_outbox.transports.smtp_sasl import (
    MECHANISMS,
    CramMd5,
    Credentials,
    Exchange,
    External,
    Login,
    OAuthBearer,
    Plain,
    SaslError,
    ScramSha256,
    XOAuth2,
    saslprep,
)
from servers.scripted import DROP, Examiner, ScriptedServer

from .examiners import bearer, cram_md5, scram_sha_256
from .sending import deliver, facts, letter, letters, only, road_to, send

ACCOUNT = (Kind.REFUSED, Scope.ACCOUNT, Phase.BEFORE)
TRANSPORT = (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)
LOGIN = {"username": "tim", "password": "tanstaaftanstaaf"}


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


# -- the RFCs' examples ------------------------------------------------------------------------------------------------


def test_plain_is_as_in_rfc_4616() -> None:
    assert Plain(Credentials("tim", "tanstaaftanstaaf")).unsaid == b"\0tim\0tanstaaftanstaaf"


def test_cram_md5_is_as_in_rfc_2195() -> None:
    exchange = CramMd5(Credentials("tim", "tanstaaftanstaaf"))
    challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
    assert exchange.unsaid is None
    assert exchange.respond(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"


def test_external_is_as_in_rfc_4422() -> None:
    assert External(Credentials()).unsaid == b""
    assert External(Credentials("fred@example.com")).unsaid == b"fred@example.com"


SERVER_FIRST = (
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)


def scram() -> ScramSha256:
    """The client of RFC 7677 §3 after its first message."""
    exchange = ScramSha256(Credentials("user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO"))
    exchange.unsaid = None
    return exchange


def test_scram_sha_256_is_as_in_rfc_7677() -> None:
    exchange = ScramSha256(Credentials("user", "pencil", nonce="rOprNGfwEbeRWgbNEkqO"))
    assert exchange.respond("") == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert exchange.respond(b64(SERVER_FIRST)) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert not exchange.complete
    assert exchange.respond(b64("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")) == b""
    assert exchange.complete


def test_oauthbearer_is_as_in_rfc_7628() -> None:
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    who = Credentials("user@example.com", token, host="server.example.com", port=587)
    assert b64(OAuthBearer(who).unsaid or b"") == (
        "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZG"
        "OWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )


def test_xoauth2_is_as_google_has_it() -> None:
    token = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    assert b64(XOAuth2(Credentials("someuser@example.com", token)).unsaid or b"") == (
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhk"
        "SFJoZG1semRHRXVZMjl0Q2cBAQ=="
    )


@pytest.mark.parametrize(("kind", "answer"), [(OAuthBearer, b"\x01"), (XOAuth2, b"")])
def test_a_refused_token_is_answered_and_its_reason_known(
    kind: type[Exchange], answer: bytes
) -> None:
    exchange = kind(Credentials("me", "token"))
    exchange.unsaid = None
    assert exchange.respond(b64('{"status":"invalid_token","schemes":"bearer"}')) == answer
    assert exchange.remark == "the token was refused: invalid_token"


@pytest.mark.parametrize("challenge", ["[]", "", "{", '{"status": null}'])
def test_a_refusal_of_a_token_needs_no_reason(challenge: str) -> None:
    exchange = XOAuth2(Credentials("me", "token"))
    exchange.unsaid = None
    assert exchange.respond(b64(challenge)) == b""
    assert exchange.remark == "the token was refused"


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        # RFC 4013 §3.
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # §2.1: spaces of all kinds are one kind.
        ("p\u00e4ss\u00a0word", "p\u00e4ss word"),
        # What the RFC forbids stays as it is.
        ("\u00e4\u0007", "\u00e4\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
    ],
)
def test_passwords_are_prepared_as_rfc_4013_says(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


def test_a_comma_in_a_name_ends_nothing() -> None:
    assert ScramSha256(Credentials("a=b,c", nonce="x")).unsaid == b"n,,n=a=3Db=2Cc,r=x"
    assert (OAuthBearer(Credentials("a,b")).unsaid or b"").startswith(b"n,a=a=2Cb,\x01")


# -- servers that say what does not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "server_first",
    [
        SERVER_FIRST.replace("r=rOpr", "r=xOpr"),
        SERVER_FIRST.replace("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""),
        SERVER_FIRST.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
        SERVER_FIRST.replace("4096", "4095"),
        SERVER_FIRST.replace("4096", "99999999999999"),
        SERVER_FIRST.replace("4096", "0000000000004096"),
        SERVER_FIRST.replace("4096", "x"),
        SERVER_FIRST.replace(",i=4096", ""),
        f"m=more,{SERVER_FIRST}",
        "e=other-error",
        "",
    ],
)
def test_scram_proves_nothing_to_a_server_that_does_not_answer_its_question(
    server_first: str,
) -> None:
    with pytest.raises(SaslError):
        scram().respond(b64(server_first))


@pytest.mark.parametrize("final", ["v=AAAA", "v=", "x", "", "e=invalid-proof", "v=%%"])
def test_scram_trusts_no_server_without_its_signature(final: str) -> None:
    exchange = scram()
    exchange.respond(b64(SERVER_FIRST))
    with pytest.raises(SaslError):
        exchange.respond(b64(final))
    assert not exchange.complete


@pytest.mark.parametrize("mechanism", sorted(MECHANISMS))
@given(challenges=st.lists(st.one_of(st.binary(max_size=40).map(b64), st.text()), max_size=6))
def test_whatever_a_server_asks_it_gets_an_answer_or_none(
    mechanism: str, challenges: list[str]
) -> None:
    exchange = MECHANISMS[mechanism](Credentials("me", "secret", nonce="n"))
    answered = 0
    try:
        for challenge in challenges:
            exchange.respond(challenge)
            answered += 1
    except SaslError:
        pass
    assert answered <= 2


def test_login_does_not_care_how_it_is_asked() -> None:
    exchange = Login(Credentials("me", "secret"))
    assert [exchange.respond("Username:"), exchange.respond("")] == [b"me", b"secret"]
    with pytest.raises(SaslError):
        exchange.respond("Anything else?")


# -- over a connection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mechanism", "examiner"),
    [
        ("CRAM-MD5", cram_md5("tim", "tanstaaftanstaaf")),
        ("SCRAM-SHA-256", scram_sha_256("tim", "tanstaaftanstaaf")),
    ],
)
def test_a_mechanism_that_hides_the_password_lets_in_who_knows_it(
    mechanism: str, examiner: Examiner
) -> None:
    with ScriptedServer(examiners={mechanism: examiner}) as server:
        (known,) = deliver(server.port, letter(), **LOGIN)
        (unknown,) = deliver(server.port, letter(), **{**LOGIN, "password": "wrong"})
    assert known.all_accepted
    assert facts(unknown) == ACCOUNT


def test_an_impostor_is_not_taken_for_the_server() -> None:
    examiner = scram_sha_256("tim", "whatever", knows_it=False)
    with ScriptedServer(examiners={"SCRAM-SHA-256": examiner}) as server:
        (report,) = deliver(server.port, letter(), **LOGIN)
    assert facts(report) == TRANSPORT
    assert "cannot prove that it knows the password" in only(report).text
    assert server.sessions[0].commands[-2:] == ["*", "QUIT"]


def test_a_welcome_without_proof_is_none() -> None:
    with ScriptedServer(accounts={"tim": ""}, mechanisms="SCRAM-SHA-256") as server:
        server._script["AUTH"] = "235 2.7.0 Come in, whoever you are"
        (report,) = deliver(server.port, letter(), **LOGIN)
    assert facts(report) == TRANSPORT
    assert "proved nothing" in only(report).text
    assert server.messages == []


@pytest.mark.parametrize("reply", ["504 5.5.4 Unknown", "534 5.7.9 Too weak"])
def test_a_mechanism_that_is_turned_away_leaves_the_next_one(reply: str) -> None:
    examiner = cram_md5("tim", "tanstaaftanstaaf")
    accounts = {"tim": "tanstaaftanstaaf"}
    with ScriptedServer(
        accounts=accounts,
        mechanisms="PLAIN",
        examiners={"CRAM-MD5": examiner},
        script={"LOGIN": [reply, None]},
    ) as server:
        (report,) = deliver(server.port, letter(), **LOGIN)
    assert report.all_accepted


def test_a_wrong_password_is_tried_by_one_mechanism_only() -> None:
    with ScriptedServer(accounts={"tim": "x"}, mechanisms="PLAIN LOGIN") as server:
        deliver(server.port, letter(), **LOGIN)
    assert sum(line.startswith("AUTH") for line in server.sessions[0].commands) == 1


# -- tokens ------------------------------------------------------------------------------------------------------------


def tokens(*given: str) -> tuple[Callable[[], str], list[str]]:
    """What gives one token after the other, and the names of the threads that asked."""
    left, asked = list(given), []

    def give() -> str:
        asked.append(threading.current_thread().name)
        return left.pop(0)

    return give, asked


@pytest.mark.parametrize(
    ("mechanism", "examiner"),
    [("OAUTHBEARER", bearer("good")), ("XOAUTH2", bearer("good", resigned=b""))],
)
def test_a_token_lets_in_and_is_asked_for_off_the_loop(mechanism: str, examiner: Examiner) -> None:
    give, asked = tokens("good")
    with ScriptedServer(examiners={mechanism: examiner}) as server:
        (report,) = deliver(server.port, letter(), username="me@example.org", token=give)
    assert report.all_accepted
    assert asked == ["flask-outbox-token"]


@pytest.mark.parametrize(("mechanism", "resigned"), [("OAUTHBEARER", b"\x01"), ("XOAUTH2", b"")])
def test_a_token_that_has_expired_is_replaced_once(mechanism: str, resigned: bytes) -> None:
    give, asked = tokens("old", "good", "better")
    with ScriptedServer(examiners={mechanism: bearer("good", resigned=resigned)}) as server:
        (report,) = deliver(server.port, letter(), username="me", token=give)
    assert report.all_accepted
    assert len(asked) == 2
    assert len(server.sessions) == 1


def test_where_no_token_is_taken_the_account_is_at_fault_and_why_is_said() -> None:
    give, asked = tokens("old", "older", "oldest")
    with ScriptedServer(examiners={"XOAUTH2": bearer(resigned=b"")}) as server:
        (report,) = deliver(server.port, letter(), username="me", token=give)
    assert facts(report) == ACCOUNT
    assert only(report).text.endswith("(the token was refused: invalid_token)")
    assert len(asked) == 2


def test_the_same_token_is_not_shown_twice() -> None:
    give, _ = tokens("old", "old")
    with ScriptedServer(examiners={"XOAUTH2": bearer(resigned=b"")}) as server:
        deliver(server.port, letter(), username="me", token=give)
    assert sum(line.startswith("AUTH") for line in server.sessions[0].commands) == 1


def test_a_long_token_goes_on_a_line_of_its_own() -> None:
    long = "x" * 2_000
    with ScriptedServer(examiners={"XOAUTH2": bearer(long, resigned=b"")}) as server:
        (report,) = deliver(server.port, letter(), username="me", token=lambda: long)
    assert report.all_accepted
    assert "AUTH XOAUTH2" in server.sessions[0].commands


def test_a_token_that_cannot_be_had_now_may_be_had_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def give() -> str:
        raise LookupError("the secret s3cret is gone")

    with ScriptedServer(examiners={"XOAUTH2": bearer()}) as server:
        (report,) = deliver(server.port, letter(), username="me", token=give)
    assert facts(report) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
    assert only(report).text == "MAIL_OAUTH_TOKEN gave no token: LookupError, see the log"
    assert "LookupError" in caplog.text


def test_a_token_that_never_comes_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    never = threading.Event()
    with ScriptedServer(examiners={"XOAUTH2": bearer()}) as server:
        (report,) = deliver(
            server.port, letter(), username="me", token=lambda: str(never.wait()), timeout=0.05
        )
    never.set()
    assert facts(report) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)


@pytest.mark.parametrize("token", ["", "to\x01ken", "to\nken", "tök", None, b"token"])
def test_what_is_no_token_is_not_sent(token: object) -> None:
    with ScriptedServer(examiners={"XOAUTH2": bearer()}) as server:
        (report,) = deliver(server.port, letter(), username="me", token=lambda: token)
    assert facts(report) == ACCOUNT
    assert not any(line.startswith("AUTH") for line in server.sessions[0].commands)


def test_connections_ask_for_tokens_one_after_the_other() -> None:
    busy = threading.Lock()

    def give() -> str:
        assert busy.acquire(blocking=False)
        try:
            return "good"
        finally:
            busy.release()

    async def main(port: int) -> list[Report]:
        async with road_to(port, username="me", token=give, pool_size=4) as road:
            return await asyncio.gather(*(send(road, a_letter) for a_letter in letters(8)))

    with ScriptedServer(examiners={"OAUTHBEARER": bearer("good")}) as server:
        reports = asyncio.run(main(server.port))
    assert all(report.all_accepted for report in reports)


def test_a_token_is_never_quoted() -> None:
    token = "ya29.a-token"
    script = {"AUTH": f"535 5.7.8 {b64(token)} {token} no"}
    with ScriptedServer(accounts={"me": ""}, mechanisms="XOAUTH2", script=script) as server:
        (report,) = deliver(server.port, letter(), username="me", token=lambda: token)
    assert token not in only(report).text
    assert b64(token) not in only(report).text


@pytest.mark.parametrize("ending", [("334 e30=", DROP), ("535 5.7.8 the token was refused", DROP)])
def test_a_server_that_hangs_up_on_a_token_has_refused_it(ending: tuple[object, ...]) -> None:
    script = {"AUTH": ending}
    with ScriptedServer(accounts={"me": ""}, mechanisms="XOAUTH2", script=script) as server:
        (report,) = deliver(server.port, letter(), username="me", token=lambda: "ya29")
    assert facts(report) == ACCOUNT
    assert "the token was refused" in only(report).text


def test_after_a_server_hung_up_on_a_token_the_next_connection_begins_with_a_younger_one() -> None:
    give, asked = tokens("old", "young", "young")
    script = {"AUTH": [("535 5.7.8 Token expired", DROP), "235 2.7.0 Welcome"]}
    with ScriptedServer(accounts={"me": ""}, mechanisms="XOAUTH2", script=script) as server:
        (first,) = deliver(server.port, letter(), username="me", token=give)
        (second,) = deliver(server.port, letter(), username="me", token=give)
    assert facts(first) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
    assert (only(first).code, only(first).text) == (535, "Token expired")
    assert second.all_accepted
    assert len(asked) == 3
