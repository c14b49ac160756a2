"""How a session is opened: TLS that is verified, and passwords that go nowhere else."""

from __future__ import annotations

import asyncio
import base64
import ssl
import sys
from pathlib import Path

import pytest
import trustme

from flask_outbox.rules.outcomes import Kind, Phase, Report, Scope
from flask_outbox.transports.smtp import SmtpSettings, SmtpTransport
from flask_outbox.transports.smtp_protocol import SmtpProtocol
from flask_outbox.transports.smtp_wire import HandshakeFailed, Wire
from servers.scripted import CAPABILITIES, DROP, HANG, Gate, Item, ScriptedServer

from .examiners import external
from .sending import deliver, facts, letter, on_each_loop, only, road_to, run, send

ACCOUNTS = {"me": "sécret word"}
LOGIN = {"username": "me", "password": "sécret word"}


class Certificates:
    """An authority, and what a server needs to show a certificate of it."""

    def __init__(self, folder: Path, *names: str) -> None:
        authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.server)
        authority.configure_trust(self.server)
        self.client = str(folder / "client.pem")
        issued = authority.issue_cert("client.example.org")
        issued.private_key_and_cert_chain_pem.write_to_path(self.client)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"), "localhost", "127.0.0.1")


# -- TLS ---------------------------------------------------------------------------------------------------------------


@on_each_loop
def test_starttls_encrypts_before_anything_is_said(certificates: Certificates) -> None:
    with ScriptedServer(tls=certificates.server) as server:
        (report,) = deliver(server.port, letter(), tls="required", tls_ca=certificates.ca)
    assert report.all_accepted
    (session,) = server.sessions
    assert session.encrypted
    assert [line.split()[0] for line in session.commands] == [
        *("EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT")
    ]


@on_each_loop
def test_implicit_tls_encrypts_from_the_first_byte(certificates: Certificates) -> None:
    with ScriptedServer(tls=certificates.server, implicit=True) as server:
        (report,) = deliver(server.port, letter(), tls="implicit", tls_ca=certificates.ca)
    assert report.all_accepted
    assert "STARTTLS" not in server.sessions[0].commands


@on_each_loop
def test_a_host_name_is_verified_too(certificates: Certificates) -> None:
    with ScriptedServer(tls=certificates.server) as server:
        (report,) = deliver(
            server.port, letter(), host="localhost", tls="required", tls_ca=certificates.ca
        )
    assert report.all_accepted


@on_each_loop
@pytest.mark.parametrize("tls", ["required", "implicit"])
def test_an_unknown_authority_is_refused_with_the_cure(
    tls: str, certificates: Certificates
) -> None:
    with ScriptedServer(tls=certificates.server, implicit=tls == "implicit") as server:
        (report,) = deliver(server.port, letter(), tls=tls)
    assert facts(report) == (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)
    assert "certificate is not trusted" in only(report).text
    assert "MAIL_TLS_CA" in only(report).text
    said = [line for session in server.sessions for line in session.commands]
    assert not any(line.startswith("MAIL") for line in said)


@on_each_loop
def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    wrong = Certificates(tmp_path, "other.example.org")
    with ScriptedServer(tls=wrong.server) as server:
        (report,) = deliver(server.port, letter(), tls="required", tls_ca=wrong.ca)
    assert facts(report) == (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)


@on_each_loop
def test_verification_can_be_switched_off(certificates: Certificates) -> None:
    with ScriptedServer(tls=certificates.server) as server:
        (report,) = deliver(server.port, letter(), tls="required", tls_verify=False)
    assert report.all_accepted
    assert server.sessions[0].encrypted


@on_each_loop
def test_opportunistic_tls_encrypts_without_asking_who_is_there(certificates: Certificates) -> None:
    with ScriptedServer(tls=certificates.server) as server:
        (report,) = deliver(server.port, letter(), tls="opportunistic")
    assert report.all_accepted
    assert server.sessions[0].encrypted


@on_each_loop
@pytest.mark.parametrize("script", [{}, {"STARTTLS": "454 4.7.0 Not now"}])
def test_opportunistic_tls_does_without(script: dict[str, str], certificates: Certificates) -> None:
    with ScriptedServer(tls=certificates.server if script else None, script=script) as server:
        (report,) = deliver(server.port, letter(), tls="opportunistic")
    assert report.all_accepted
    assert not server.sessions[0].encrypted


@on_each_loop
def test_opportunistic_tls_does_without_on_a_new_connection_where_the_handshake_fails(
    certificates: Certificates,
) -> None:
    script = {"STARTTLS": ("220 Go ahead", DROP)}
    with ScriptedServer(tls=certificates.server, script=script) as server:
        (report,) = deliver(server.port, letter(), tls="opportunistic")
    assert report.all_accepted
    first, second = server.sessions
    assert [line.split()[0] for line in first.commands] == ["EHLO", "STARTTLS"]
    assert [line.split()[0] for line in second.commands] == [
        *("EHLO", "MAIL", "RCPT", "DATA", "QUIT")
    ]


@on_each_loop
def test_opportunistic_tls_does_without_where_the_handshake_takes_too_long() -> None:
    script: dict[str, Item | list[Item]] = {"STARTTLS": [("220 Go ahead", HANG), None]}
    with ScriptedServer([*CAPABILITIES, "STARTTLS"], script=script) as server:
        (report,) = deliver(server.port, letter(), tls="opportunistic", timeout=0.1)
    assert report.all_accepted
    assert len(server.sessions) == 2


@on_each_loop
def test_broken_tls_is_tried_once_an_hour_where_it_is_opportunistic(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0

    async def main(port: int) -> None:
        nonlocal now
        settings = SmtpSettings("127.0.0.1", port, tls="opportunistic", max_messages=1)
        road = SmtpTransport(settings, clock=lambda: now)
        for moment in (0.0, 1.0, 3_599.0, 3_600.0, 3_601.0):
            now = moment
            assert (await send(road, letter())).all_accepted
        await road.aclose()

    script = {"STARTTLS": ("220 Go ahead", DROP)}
    with ScriptedServer(tls=certificates.server, script=script) as server:
        run(main(server.port))
    tried = ["STARTTLS" in session.commands for session in server.sessions]
    assert tried == [True, False, False, False, True, False, False]
    assert len(caplog.records) == 2
    assert "TLS failed" in caplog.text
    assert "without TLS" in caplog.text


@on_each_loop
def test_tls_that_was_not_the_trouble_is_not_remembered_as_broken(
    certificates: Certificates,
) -> None:
    script = {"STARTTLS": [("220 Go ahead", DROP), None], "GREETING": [None, DROP, None]}
    with ScriptedServer(tls=certificates.server, script=script) as server:

        async def main() -> None:
            async with road_to(server.port, tls="opportunistic") as road:
                assert not (await send(road, letter())).all_accepted
                assert (await send(road, letter())).all_accepted

        run(main())
    assert server.sessions[-1].encrypted


@on_each_loop
def test_closing_in_a_handshake_opens_no_new_connection() -> None:
    gate = Gate()

    async def main(server: ScriptedServer) -> Report:
        async with road_to(server.port, tls="opportunistic") as road:
            sending = asyncio.create_task(send(road, letter()))
            await gate.reached()
            await road.aclose()
            gate.open()
            return await sending

    script = {"STARTTLS": ("220 Go ahead", gate, DROP)}
    with ScriptedServer([*CAPABILITIES, "STARTTLS"], script=script) as server:
        assert run(main(server)) == Report()
    assert len(server.sessions) == 1


@on_each_loop
def test_required_tls_does_not_do_without() -> None:
    with ScriptedServer() as server:
        (report,) = deliver(server.port, letter(), tls="required")
    assert facts(report) == (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)
    assert "offers no STARTTLS" in only(report).text
    assert server.messages == []


@on_each_loop
def test_required_tls_waits_where_the_server_cannot_now(certificates: Certificates) -> None:
    script = {"STARTTLS": "454 4.7.0 Not now"}
    with ScriptedServer(tls=certificates.server, script=script) as server:
        (report,) = deliver(server.port, letter(), tls="required", tls_ca=certificates.ca)
    assert facts(report) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)


@on_each_loop
def test_what_is_injected_behind_starttls_ends_the_connection(certificates: Certificates) -> None:
    script = {"STARTTLS": b"220 Go ahead\r\n250 Injected\r\n"}
    with ScriptedServer(tls=certificates.server, script=script) as server:
        (report,) = deliver(server.port, letter(), tls="required", tls_ca=certificates.ca)
    assert facts(report) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
    assert "in the clear after STARTTLS" in only(report).text


@on_each_loop
def test_what_was_announced_in_the_clear_is_forgotten(certificates: Certificates) -> None:
    clear = "250-scripted.example\n250-STARTTLS\n250-AUTH PLAIN\n250 PIPELINING"
    script = {"EHLO": [clear, "250 scripted.example"]}
    with ScriptedServer(tls=certificates.server, script=script) as server:
        (report,) = deliver(server.port, letter(), tls="required", tls_ca=certificates.ca, **LOGIN)
    assert "offers no AUTH" in only(report).text


@on_each_loop
def test_a_handshake_that_fails_is_a_failure_of_the_road() -> None:
    with ScriptedServer() as server:
        (report,) = deliver(server.port, letter(), tls="implicit")
    assert facts(report) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
    assert "TLS failed" in only(report).text


@on_each_loop
def test_what_is_said_in_the_clear_before_the_handshake_is_its_failure() -> None:
    async def main(port: int) -> None:
        settings = SmtpSettings("127.0.0.1", port)
        wire = Wire(SmtpProtocol(), on_verdict=lambda reply: None)
        await wire.connect(settings, 5)
        await wire.expect(1, 5)
        with pytest.raises(HandshakeFailed, match="TLS failed: WRONG_VERSION_NUMBER"):
            await wire.start_tls(ssl.create_default_context(), settings.host, 600)

    with ScriptedServer() as server:
        run(main(server.port))


@on_each_loop
def test_a_server_that_hangs_up_in_the_handshake_is_a_failure_of_the_road(
    certificates: Certificates,
) -> None:
    script = {"STARTTLS": ("220 Go ahead", DROP)}
    with ScriptedServer(tls=certificates.server, script=script) as server:
        (report,) = deliver(server.port, letter(), tls="required", tls_ca=certificates.ca)
    assert facts(report) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)


@on_each_loop
def test_a_client_certificate_is_shown(certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    # In TLS 1.3 the client is done before the server has looked at its certificate.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    settings = {"tls": "required", "tls_verify": False}
    with ScriptedServer(tls=context) as server:
        (without,) = deliver(server.port, letter(), **settings)
        (shown,) = deliver(server.port, letter(), tls_cert=certificates.client, **settings)
    assert facts(without) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)
    assert shown.all_accepted


@on_each_loop
def test_who_shows_a_certificate_needs_no_password(certificates: Certificates) -> None:
    examiners = {"EXTERNAL": external("client.example.org")}
    with ScriptedServer(tls=certificates.server, examiners=examiners) as server:
        (report,) = deliver(
            server.port,
            letter(),
            tls="required",
            tls_ca=certificates.ca,
            tls_cert=certificates.client,
            auth_mechanisms=("EXTERNAL",),
        )
    assert report.all_accepted
    assert "AUTH EXTERNAL =" in server.sessions[0].commands


@on_each_loop
def test_a_large_content_goes_through_tls(certificates: Certificates) -> None:
    raw = b"Subject: x\r\n\r\n" + b"x" * 70 * 40_000 + b"\r\n"
    with ScriptedServer(tls=certificates.server) as server:
        (report,) = deliver(server.port, letter(raw=raw), tls="required", tls_ca=certificates.ca)
    assert report.all_accepted
    assert server.messages[0].content == raw


# -- from where --------------------------------------------------------------------------------------------------------


@on_each_loop
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.1 is alone")
def test_connections_come_from_the_address_that_is_set() -> None:
    peers = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, road_to(port, source_address="127.0.0.2") as road:
            await send(road, letter())

    run(main())
    assert peers == ["127.0.0.2"]


# -- AUTH --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_the_login_goes_over_tls(mechanism: str, certificates: Certificates) -> None:
    with ScriptedServer(tls=certificates.server, accounts=ACCOUNTS, mechanisms=mechanism) as server:
        (report,) = deliver(server.port, letter(), tls="required", tls_ca=certificates.ca, **LOGIN)
    assert report.all_accepted


def test_without_tls_the_login_stays_on_this_machine() -> None:
    with ScriptedServer(accounts=ACCOUNTS) as server:
        (report,) = deliver(server.port, letter(), tls="never", **LOGIN)
    assert report.all_accepted


def test_only_an_allowed_mechanism_is_used() -> None:
    with ScriptedServer(accounts=ACCOUNTS, mechanisms="PLAIN LOGIN") as server:
        deliver(server.port, letter(), auth_mechanisms=("LOGIN",), **LOGIN)
    assert "AUTH LOGIN" in server.sessions[0].commands


@pytest.mark.parametrize("mechanisms", ["GSSAPI NTLM", "LOGIN"])
def test_where_no_mechanism_is_common_the_account_is_at_fault(mechanisms: str) -> None:
    with ScriptedServer(accounts=ACCOUNTS, mechanisms=mechanisms) as server:
        (report,) = deliver(server.port, letter(), auth_mechanisms=("PLAIN",), **LOGIN)
    assert facts(report) == (Kind.REFUSED, Scope.ACCOUNT, Phase.BEFORE)
    assert not any(line.startswith("AUTH") for line in server.sessions[0].commands)


def test_a_wrong_password_is_the_accounts_fault() -> None:
    with ScriptedServer(accounts=ACCOUNTS) as server:
        (report,) = deliver(server.port, letter(), username="me", password="wrong")
    assert facts(report) == (Kind.REFUSED, Scope.ACCOUNT, Phase.BEFORE)
    assert only(report).code == 535
    assert server.sessions[0].commands[-1] == "QUIT"


def test_a_login_that_is_not_possible_now_is_tried_again() -> None:
    with ScriptedServer(accounts=ACCOUNTS, script={"LOGIN": "454 4.7.0 Not now"}) as server:
        (report,) = deliver(server.port, letter(), **LOGIN)
    assert facts(report) == (Kind.DEFERRED, Scope.TRANSPORT, Phase.BEFORE)


def test_a_server_that_quotes_the_password_is_not_quoted() -> None:
    plain = base64.b64encode(b"\0me\0s\xc3\xa9cret word").decode()
    login = base64.b64encode("sécret word".encode()).decode()
    reply = f"535 5.7.8 'AUTH PLAIN {plain}', so sécret word or {login}: no"
    for mechanism in ("PLAIN", "LOGIN"):
        with ScriptedServer(accounts=ACCOUNTS, script={"AUTH": reply}) as server:
            (report,) = deliver(server.port, letter(), auth_mechanisms=(mechanism,), **LOGIN)
        text = only(report).text
        assert "cret" not in text
        assert login not in text
        assert plain not in text or mechanism == "LOGIN"


@pytest.mark.parametrize("ending", ["501 5.7.0 Cancelled", "235 2.7.0 Welcome", DROP])
def test_a_challenge_too_many_is_given_up(ending: str) -> None:
    script = {"AUTH": "334 ", "RESPONSE": [ending]}
    with ScriptedServer(accounts=ACCOUNTS, script=script) as server:
        (report,) = deliver(server.port, letter(), auth_mechanisms=("PLAIN",), **LOGIN)
    assert facts(report) == (Kind.REFUSED, Scope.TRANSPORT, Phase.BEFORE)
    assert "asks for more than there is to say" in only(report).text
    assert "*" in server.sessions[0].commands


def test_the_account_is_at_fault_for_every_letter_that_waits() -> None:
    async def main(port: int) -> list[Report]:
        async with road_to(port, username="me", password="wrong", pool_size=2) as road:
            return await asyncio.gather(*(send(road, letter(n)) for n in range(6)))

    with ScriptedServer(accounts=ACCOUNTS) as server:
        reports = run(main(server.port))
    assert {only(report).scope for report in reports} == {Scope.ACCOUNT}
