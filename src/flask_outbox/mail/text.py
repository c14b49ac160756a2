"""The plain text made from an HTML message that comes without one: what a reader sees, with the links kept.

Loaded only when it is needed, because Flask alone does not load ``html.parser``.
"""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

# fmt: off
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source",
     "track", "wbr")
)
_SILENT = frozenset(
    ("audio", "iframe", "math", "object", "script", "style", "svg", "template", "title",
     "video")
)
_PARAGRAPHS = frozenset(
    ("blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "ul")
)
_LINES = frozenset(
    ("address", "article", "aside", "center", "dd", "div", "dt", "fieldset", "figcaption",
     "figure", "footer", "form", "header", "legend", "li", "main", "nav", "option", "section",
     "tr")
)
# fmt: on
# An open one is closed by the next of its kind.
_SELF_CLOSING = frozenset(("dd", "dt", "li", "option", "p", "td", "th", "tr"))
# Comments, and the conditional sections of Outlook, at which older parsers stumble.
_MARKED = re.compile(r"<!--.*?(?:-->|$)|<!\[[^>]*(?:>|$)", re.DOTALL)
_HIDDEN = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all", re.IGNORECASE)
# Hints for breaking lines.
_HINTS = re.compile("[\u00ad\u200b\u2060\ufeff]")
# Joiners and marks that join nothing, with which newsletters pad the line that inboxes preview.
_PADDING = re.compile("[\u034f\u200c-\u200f]+")
# Deeper ones are written like the last of these: no text grows by the square of its HTML.
_DEEPEST = 8
_NOT_FOR_READERS = ("#", "javascript:", "data:", "cid:")

_Attributes = list[tuple[str, str | None]]


def text_from_html(html: str) -> str:
    """What the HTML says, as plain text.

    Paragraphs, lists and line breaks stay; a link becomes ``text (address)``, an image its alternative text.
    Scripts, styles and what is hidden are left out.
    """
    reader = _Reader()
    # An empty declaration in their place, so that what stood around them does not become markup.
    reader.feed(_MARKED.sub("<!>", html))
    reader.close()
    return reader.text()


class _Reader(HTMLParser):
    """Writes text as it meets it; line breaks are owed until there is text to come after them."""

    def __init__(self) -> None:
        super().__init__()
        self._out: list[str] = []
        self._owed = 0  # line breaks
        self._space = False  # whether a space is owed
        self._open: list[str] = []
        self._times: Counter[str] = Counter()  # how often each element is open
        self._silent_from = 0  # how deep the silent element lies, 0 for none
        self._lists: list[int] = []  # the number of the last item, or -1 where items have none
        self._marker = ""
        self._links: list[tuple[str, int]] = []  # address, and where its text begins

    def text(self) -> str:
        while self._open:
            self.handle_endtag(self._open[-1])  # a link that was left open is one, too
        lines = "".join(self._out).split("\n")
        return "\n".join(line.rstrip() for line in lines).strip("\n")

    def handle_starttag(self, tag: str, attrs: _Attributes) -> None:
        if tag in _VOID:
            if not self._silent_from:
                self._void(tag, dict(attrs))
            return
        if tag in _SELF_CLOSING and self._open and self._open[-1] == tag:
            self.handle_endtag(tag)
        elif tag == "a" and self._links and not self._silent_from:
            self.handle_endtag(tag)  # HTML has no link within a link
        self._open.append(tag)
        self._times[tag] += 1
        if not self._silent_from:
            self._enter(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if not self._times[tag]:
            return
        closed = ""
        while closed != tag:
            closed = self._open.pop()
            self._times[closed] -= 1
            if not self._silent_from:
                self._leave(closed)
            elif len(self._open) < self._silent_from:
                self._silent_from = 0

    def handle_data(self, data: str) -> None:
        if self._silent_from:
            return
        if self._times["pre"]:
            self._preformatted(data)
            return
        seen = _HINTS.sub("", data)
        words = [word for word in seen.split() if not _PADDING.fullmatch(word)]
        if seen[:1].isspace():
            self._space = True
        if words:
            self._write(" ".join(words))
            self._space = seen[-1].isspace()

    def _void(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "br":
            self._break(min(self._owed + 1, 2))
        elif tag == "hr":
            self._break(2)
            self._write("-" * 40)
            self._break(2)
        elif tag == "img":
            self.handle_data(attributes.get("alt") or "")

    def _enter(self, tag: str, attributes: dict[str, str | None]) -> None:
        if (
            tag in _SILENT
            or "hidden" in attributes
            or _HIDDEN.search(attributes.get("style") or "")
        ):
            self._silent_from = len(self._open)
            return
        self._break_around(tag)
        if tag in ("ul", "ol"):
            self._lists.append(0 if tag == "ol" else -1)
        elif tag == "li" and self._lists:
            self._number_item()
        elif tag in ("td", "th"):
            self._space = True
        elif tag == "a":
            self._links.append((attributes.get("href") or "", len(self._out)))

    def _leave(self, tag: str) -> None:
        if tag in ("ul", "ol"):
            self._lists.pop()
            self._marker = ""
        elif tag == "a":
            self._end_link(*self._links.pop())
        self._break_around(tag)

    def _break_around(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            # A list within a list, or a paragraph within an item, needs no empty line.
            self._break(1 if self._lists else 2)
        elif tag in _LINES:
            self._break(1)

    def _number_item(self) -> None:
        if self._lists[-1] < 0:
            self._marker = "- "
        else:
            self._lists[-1] += 1
            self._marker = f"{self._lists[-1]}. "

    def _end_link(self, href: str, start: int) -> None:
        address = re.sub(
            r"^(mailto|tel):([^?]*).*", r"\2", href.strip(), flags=re.DOTALL | re.IGNORECASE
        )
        if not address or address.lower().startswith(_NOT_FOR_READERS):
            return
        text = "".join(self._out[start:]).strip()
        if not text:
            self._write(address)
        elif text.rstrip("/") != re.sub("^https?://", "", address).rstrip("/") and text != address:
            # On the line of the link's last words, whatever block ended there.
            self._out.append(f" ({address})")

    def _preformatted(self, data: str) -> None:
        if self._owed > 1:
            data = data.removeprefix("\n")  # the one after <pre>, which HTML does not count
        for number, line in enumerate(data.split("\n")):
            self._break(self._owed + 1 if number else self._owed)
            if line:
                self._write(line)

    def _break(self, lines: int) -> None:
        self._owed = max(self._owed, lines)
        self._space = False

    def _write(self, text: str) -> None:
        if self._owed or not self._out:
            self._out.append("\n" * self._owed + self._margin() if self._out else self._margin())
        elif self._space:
            self._out.append(" ")
        self._out.append(text)
        self._owed, self._space = 0, False

    def _margin(self) -> str:
        quoted = "> " * min(self._times["blockquote"], _DEEPEST)
        if not self._lists:
            return quoted
        marker, self._marker = self._marker or "  ", ""
        return quoted + "  " * (min(len(self._lists), _DEEPEST) - 1) + marker
