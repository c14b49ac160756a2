"""The parcel: a letter and all that is needed to try it again, as text: what a task carries where nothing is stored."""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..mail.letter import Letter, Terms

#: The version of the text. A reader that meets a higher one refuses.
VERSION = 1

#: How the text begins.
_ID = re.compile(r'\{"v":\d+,"id":"(\w+)"')

#: Seconds that a task is put off at most: brokers give a task that waits longer to a second worker as well, such as
#: Redis after Celery's ``visibility_timeout`` of an hour. What is due later is put off again.
LONGEST = 600.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """One letter on its way through a task queue. Moments are Unix seconds.

    :param to: the recipients that are still open.
    :param over: those that are not, each with its state.
    :param attempts: how many tries have counted.
    """

    letter: Letter
    to: tuple[str, ...]
    transport: str
    priority: int
    created: float
    due: float
    expires: float | None = None
    attempts: int = 0
    over: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, letter: Letter, terms: Terms) -> Parcel:
        """Of a letter that was not tried yet."""
        now = time.time()
        due = now if terms.due is None else terms.due
        to = letter.envelope_to
        return cls(letter, to, terms.transport, terms.priority, now, due, terms.expires)

    def after(
        self, due: float, to: tuple[str, ...], over: Mapping[str, str], *, counts: bool
    ) -> Parcel:
        """What is left after a try.

        :param counts: whether it was one.
        """
        attempts = self.attempts + counts
        return replace(self, due=due, to=to, over={**self.over, **over}, attempts=attempts)

    def wait(self) -> float:
        """Seconds that the next task is to be put off, a part of it where it is due much later."""
        return min(max(0.0, self.due - time.time()), LONGEST)

    def to_json(self) -> str:
        """As text."""
        blobs = {part.digest: b64encode(part.data).decode() for part in self.letter.parts()}
        document: dict[str, object] = {
            "v": VERSION,
            "id": self.letter.id,
            "letter": self.letter.to_json(),
            "blobs": blobs,
            "to": self.to,
            "transport": self.transport,
            "priority": self.priority,
            "created": self.created,
            "due": self.due,
            "expires": self.expires,
            "attempts": self.attempts,
            "over": dict(self.over),
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Parcel:
        """Read it back.

        :raises ValueError: it is of a newer version.
        """
        document = json.loads(text)
        version = document.pop("v")
        if version > VERSION:
            raise ValueError(
                f"This task was made by a newer Flask-Outbox (version {version}; this one reads up to {VERSION}):"
                " upgrade this process."
            )
        del document["id"]
        blobs = {digest: b64decode(data) for digest, data in document.pop("blobs").items()}
        letter = Letter.from_json(document.pop("letter"), blobs)
        return cls(letter, tuple(document.pop("to")), **document)


def id_of(text: str) -> str:
    """The id of the letter of a parcel, without reading all of it; for a queue whose tasks have ids."""
    found = _ID.match(text)
    if found is None:
        raise ValueError("This is no parcel.")
    return found[1]
