"""The text of a message in its versions, and the charset they are written in."""

from __future__ import annotations

import codecs
import re
from typing import TypeAlias

from ..errors import MessageError
from .message import Message
from .parts import media_type
from .strings import Pairs, one_line, plain_text

#: The text, the HTML, and all versions besides the text where there are more than these two.
Versions: TypeAlias = tuple[str | None, str | None, Pairs]

# Codecs of Python that no mail program knows.
_PYTHONS_OWN = frozenset(("raw-unicode-escape", "idna", "punycode", "mbcs", "oem"))

_charset_name = re.compile(r"[A-Za-z0-9.:_\-]+")


def seal_versions(message: Message) -> Versions:
    """The message's texts checked; empty ones are left out, and a text is made from the HTML where it is missing."""
    text = plain_text(message.body, "body") if message.body else None
    versions = []
    for key, content in message.alts.items():
        if content:
            subtype = key if key == "html" else _subtype(key)
            versions.append((subtype, plain_text(content, "html" if key == "html" else "alts")))
    html = dict(versions).get("html")
    if html and not (text and text.strip()):
        # Loaded here: most processes never need it, and it is slow to load.
        from .text import text_from_html

        text = text_from_html(html) or None
    return text, html, () if len(versions) == (html is not None) else tuple(versions)


def seal_charset(given: str | None, versions: Versions) -> str:
    """The MIME label of the texts' charset: as the :mod:`email` package writes mail of it, Shift JIS as ISO-2022-JP.

    ASCII is UTF-8's where there is more than ASCII, instead of failing at the first umlaut.
    """
    if not given:
        return "utf-8"
    from email.charset import Charset

    written = one_line(given, "charset").strip()
    text, html, alternatives = versions
    try:
        if not _charset_name.fullmatch(written):
            raise LookupError
        label = Charset(written).get_output_charset() or ""
        codec = codecs.lookup(label).name
        contents = (text or "", html or "", *(content for _, content in alternatives))
        if codec == "ascii" and all(map(str.isascii, contents)):
            return "us-ascii"
        if codec in ("utf-8", "ascii"):
            return "utf-8"
        if codec in _PYTHONS_OWN or "\r\n".encode(label) != b"\r\n":
            raise LookupError
        for content in contents:
            content.encode(label)
    except UnicodeError as error:
        raise MessageError(
            f"charset: {written} cannot write all of the text; leave the charset out for utf-8.",
            field="charset",
        ) from error
    except LookupError:
        raise MessageError(
            f"charset: {written[:100]!r} is not a charset for mail; leave it out for utf-8.",
            field="charset",
        ) from None
    return label


def _subtype(given: str) -> str:
    """A text subtype with its parameters, but for the charset, which is the letter's."""
    content_type, parameters = media_type(f"text/{given.removeprefix('text/')}", "alts")
    words = [content_type.removeprefix("text/")]
    for name, value in parameters:
        if name.lower() != "charset":
            quoted = re.sub(r'(["\\])', r"\\\1", value)
            words.append(f'{name}="{quoted}"')
    return "; ".join(words)
