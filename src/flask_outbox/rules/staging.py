"""Whom mail may reach where it is not meant for everyone: on a developer's machine, or in a copy of production.

With ``redirect_to`` alone everything goes there instead. With ``allowed`` alone a letter for anyone else is held as a
whole. With both, those who are allowed get their mail and that of the others goes to ``redirect_to``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

# A domain with stars, or an address literal.
_domain = re.compile(r"[\w.*\-]+|\[[!-Z^-~]+\]")


@dataclass(frozen=True)
class Staging:
    """What is set about it.

    :param redirect_to: addresses.
    :param allowed: as :func:`pattern` gives them; empty where everyone is.
    """

    redirect_to: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.redirect_to or self.allowed)

    def envelope(self, to: Sequence[str]) -> tuple[str, ...]:
        """The recipients that a letter for these goes to."""
        if not self.redirect_to:
            return tuple(to)
        kept = [address for address in to if self.allows(address)]
        others = self.redirect_to if len(kept) < len(to) else ()
        return tuple(dict.fromkeys((*kept, *others)))

    def objection(self, to: Sequence[str]) -> str:
        """Why a letter for these is held, or ""."""
        if self.redirect_to or not self.allowed:
            return ""
        outside = [address for address in to if not self.allows(address)]
        if not outside:
            return ""
        more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
        return f"MAIL_ALLOWED_RECIPIENTS does not allow {outside[0][:100]}{more}"

    def allows(self, address: str) -> bool:
        """Whether a pattern fits the address, capitals or not."""
        # Split at the last @: a quoted local part may hold another one, with a domain that is allowed behind it.
        local, _, domain = address.lower().rpartition("@")
        return any(fits(local) and holds(domain) for fits, holds in self._patterns)

    @cached_property
    def _patterns(self) -> list[tuple[Callable[[str], object], Callable[[str], object]]]:
        halves = [one.lower().rpartition("@") for one in self.allowed]
        return [(_glob(local), _glob(domain)) for local, _, domain in halves]


def pattern(written: str) -> str:
    """``local@domain``, in which a star stands for anything on its side of the @, from what people write.

    ``@example.org``, ``*@example.org`` and ``example.org`` mean everyone of a domain, ``*`` everyone.

    :raises ValueError: it is none.
    """
    local, _, domain = written.strip().rpartition("@")
    local = local or "*"
    if not (
        _domain.fullmatch(domain) and local.isprintable() and not re.search(r"[\s,;<>@]", local)
    ):
        raise ValueError(f"{written!r} is not an address or a pattern of addresses")
    return f"{local}@{domain}"


def _glob(text: str) -> Callable[[str], object]:
    return re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL).fullmatch
