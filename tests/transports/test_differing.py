"""smtplib and we say the same to one server, and hear the same: any content, any mixture of recipients."""

from __future__ import annotations

import smtplib

from hypothesis import given, settings
from hypothesis import strategies as st

from servers.scripted import CAPABILITIES, ScriptedServer

from .differing import codes, smtplibs_codes, smtplibs_lmtp_codes
from .sending import deliver, letter

_REPLIES = [None, "550 5.1.1 Nobody", "450 4.2.0 Later", "452 4.2.2 Full"]
_RECIPIENTS = st.lists(st.sampled_from(_REPLIES), min_size=1, max_size=5)
_VERDICT = st.sampled_from([None, "554 5.7.1 Spam", "451 4.3.0 Later"])
#: Contents; the first line of one may begin with a dot too.
_CONTENTS = st.lists(
    st.one_of(
        st.sampled_from([b".", b"..", b"...", b"", b".\t", b"QUIT", b"x" * 900]),
        st.binary(max_size=20).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b"")),
    ),
    min_size=1,
    max_size=8,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))


@settings(max_examples=60)
@given(_CONTENTS, _RECIPIENTS, _VERDICT, st.sampled_from([CAPABILITIES, CAPABILITIES[1:]]))
def test_the_same_is_accepted_from_both(
    content: bytes,
    replies: list[str | None],
    verdict: str | None,
    capabilities: tuple[str, ...],
) -> None:
    to = [f"{number}@example.net" for number in range(len(replies))]
    script = {f"RCPT {one}": reply for one, reply in zip(to, replies, strict=True)}
    one = letter(to=to, raw=content)
    with ScriptedServer(capabilities, script={**script, "CONTENT": verdict}) as server:
        with smtplib.SMTP("127.0.0.1", server.port) as client:
            theirs = smtplibs_codes(client, one)
        accepted, server.messages = server.messages, []
        (report,) = deliver(server.port, one)
    assert server.messages == accepted
    # smtplib forgets who was refused before where the content was refused too.
    theirs |= {name: int(reply[:3]) for name, reply in zip(to, replies, strict=True) if reply}
    assert codes(report) == theirs


@settings(max_examples=60)
@given(_CONTENTS, _RECIPIENTS, st.lists(_VERDICT, min_size=5, max_size=5))
def test_the_same_is_accepted_from_both_over_lmtp(
    content: bytes, replies: list[str | None], verdicts: list[str | None]
) -> None:
    to = [f"{number}@example.net" for number in range(len(replies))]
    script = {f"RCPT {one}": reply for one, reply in zip(to, replies, strict=True)}
    one = letter(to=to, raw=content)
    said = verdicts[: replies.count(None)]
    with ScriptedServer(script={**script, "CONTENT": [*said, *said]}, lmtp=True) as server:
        with smtplib.LMTP("127.0.0.1", server.port) as client:
            client.ehlo()
            theirs = smtplibs_lmtp_codes(client, one)
        accepted, server.messages = server.messages, []
        (report,) = deliver(server.port, one, lmtp=True)
    assert server.messages == accepted
    assert codes(report) == theirs
