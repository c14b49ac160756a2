"""Addresses: the forms people write, parsed once and kept as pairs.

Read are ``a@b.org``, ``Name <a@b.org>``, ``"Last, First" <a@b.org>``, ``a@b.org (Name)`` and the pair
``("Name", "a@b.org")``. In the forms with angle brackets the name may hold commas, dots and brackets without quotes,
as people write it, and RFC 2047 encoded words, as :func:`email.utils.formataddr` writes it; a pair's name is taken as
it stands. Comments elsewhere, groups, routes and spaces around dots are in no address that people write: refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, cast

from ..errors import AddressError
from .strings import one_line

# RFC 5321 4.5.3.1: octets of the local part, of the domain, and of a path without its angle brackets.
_LOCAL_MAX, _DOMAIN_MAX, _ADDR_MAX = 64, 255, 254
# Characters of what a caller writes, name included: about what one header line can hold.
_WRITTEN_MAX = 1_000

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
# The underscore is in no standard for host names, but in host names that take mail.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_QUOTED = r'"(?:[^"\\]|\\.)*"'

_plain = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*@{_HOST}")
# What nearly all names are: words without quotes.
_named = re.compile(rf"([{_ATEXT}.]+(?: [{_ATEXT}.]+)*) <([^<>]+)>")
# ATEXT and all beyond ASCII, said by what is not in it, because that compiles in a hundredth of the time.
_WORD = r'[^\x00-\x20\x7f"(),.:;<>@\[\\\]]+'
_local = re.compile(rf"{_WORD}(?:\.{_WORD})*|{_QUOTED}")
_domain = re.compile(rf"{_HOST}|\[(?:IPv6:)?[0-9A-Fa-f:.]+\]")
_angled = re.compile(rf'((?:{_QUOTED}|[^"<>])*)<((?:{_QUOTED}|[^"<>])*)>')
# The form of before 1982, which mail programs still show: a@b.org (Name).
_commented = re.compile(r'([^\s"<>()@]+@[^\s"<>()@]+) *\(([^()\\]*)\)')
_quoted = re.compile(r'"((?:[^"\\]|\\.)*)"')
_odd_dots = re.compile(r"\.[.@]|(?:^|<)\.")
_spaces = re.compile(" +")
_several = re.compile(r"@[^,;]*[,;]")


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox.

    :param addr: ``local@domain``, the domain in its ASCII form.
    :param name: the display name, or "".
    """

    addr: str
    name: str = ""

    @property
    def domain(self) -> str:
        """What stands after the @, in ASCII."""
        return self.addr.rpartition("@")[2]

    @property
    def needs_smtputf8(self) -> bool:
        """Whether the local part is beyond ASCII, which only RFC 6531 servers take."""
        return not self.addr.isascii()


#: An address as callers write it.
Written: TypeAlias = str | tuple[str, str] | Address


def parse_address(value: Written, field: str) -> Address:
    """Read one mailbox.

    :param field: the message's field, for the error.
    :raises BadHeaderError: it holds a line break or another control character.
    :raises AddressError: it is no address; a list or a group in one string is none either.
    """
    if type(value) is str:
        if _is_plain(value):
            return Address(value)
        named = _named.fullmatch(value) if len(value) <= _WRITTEN_MAX else None
        if named is not None and "=?" not in named[1] and _is_plain(named[2]):
            return Address(named[2], named[1])
    elif isinstance(value, Address):
        return _from_pair((value.name, value.addr), field)
    elif isinstance(value, tuple | list):
        return _from_pair(value, field)
    return _from_text(one_line(value, field).strip(), field)


def listed(value: str | Iterable[Written] | Written | None) -> list[Written]:
    """The addresses of a field that holds many: a list as it stands, and one address as a list of one.

    A tuple is several addresses, never a name and an address: a name that looks like an address would get the mail.
    """
    if not value:
        return []
    if isinstance(value, list):
        return value
    # Strings by their method, because lazy strings can be iterated like a list.
    if isinstance(value, Address) or hasattr(value, "encode"):
        return [cast("Written", value)]
    return list(value)


def _is_plain(text: str) -> bool:
    return (
        len(text) <= _ADDR_MAX
        and _plain.fullmatch(text) is not None
        and "=?" not in text
        and text.index("@") <= _LOCAL_MAX
    )


def _from_text(text: str, field: str) -> Address:
    if len(text) > _WRITTEN_MAX:
        raise _too_long(text, field)
    commented = _commented.fullmatch(text)
    if commented is not None:
        return Address(_addr_spec(commented[1], text, field), _display_name(commented[2], field))
    angled = _angled.fullmatch(text)
    if angled is None:
        return Address(_addr_spec(text, text, field))
    name, spec = angled.groups()
    if _several.search(_quoted.sub("", name)):
        raise _refusal(text, field)
    return Address(_addr_spec(spec.strip(), text, field), _display_name(name.strip(), field))


def _from_pair(pair: tuple[object, ...] | list[object], field: str) -> Address:
    if len(pair) != 2:
        raise AddressError(
            f"{field}: {_shown(pair)} is not a pair; write ('Name', 'name@example.org').",
            field=field,
        )
    name, addr = one_line(pair[0] or "", field).strip(), pair[1]
    if type(addr) is str and _is_plain(addr):
        return Address(addr, name)
    addr = one_line(addr, field).strip()
    if len(addr) > _WRITTEN_MAX:
        raise _too_long(addr, field)
    if "@" in name and "@" not in addr:
        raise AddressError(
            f"{field}: in {_shown(pair)} the name comes first; write ('Name', 'name@example.org').",
            field=field,
        )
    return Address(_addr_spec(addr, addr, field), name)


def _addr_spec(spec: str, text: str, field: str) -> str:
    """``local@domain`` checked, its domain turned to ASCII.

    :param text: what the caller wrote, for the error.
    """
    local, _, domain = spec.rpartition("@")
    if not domain.isascii():
        domain = _idna(domain, text, field)
    # RFC 2047 5 bans encoded words here, and some readers decode them all the same.
    if ("=?" in local and "?=" in local) or not (
        _local.fullmatch(local) and _domain.fullmatch(domain)
    ):
        raise _refusal(text, field)
    if not local.isprintable():
        raise AddressError(
            f"{field}: {_shown(text)} holds an invisible character before the @; type the address anew.",
            field=field,
        )
    octets = len(local.encode())
    if octets > _LOCAL_MAX or len(domain) > _DOMAIN_MAX or octets + 1 + len(domain) > _ADDR_MAX:
        raise _too_long(text, field)
    return f"{local}@{domain}"


def _idna(domain: str, text: str, field: str) -> str:
    import idna

    if len(domain) > _DOMAIN_MAX:
        raise _too_long(text, field)
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise AddressError(
            f"{field}: the domain of {_shown(text)} is not one that IDNA 2008 allows ({error}); "
            "write its registered form ('xn--…').",
            field=field,
        ) from None


def _display_name(phrase: str, field: str) -> str:
    if '"' in phrase:
        return _quoted.sub(lambda found: re.sub(r"\\(.)", r"\1", found[1]), phrase).strip()
    phrase = _spaces.sub(" ", phrase)
    # What encoded words hide is checked like what stands there in the clear.
    return one_line(_decoded(phrase), field).strip() if "=?" in phrase else phrase


def _decoded(phrase: str) -> str:
    from email.errors import MessageError as StdlibMessageError
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(phrase)))
    except (StdlibMessageError, LookupError, ValueError):
        return phrase  # not encoded words after all


def _refusal(text: str, field: str) -> AddressError:
    bare = _quoted.sub("", text)
    if not text:
        cure = "write 'name@example.org', or leave the field out"
    elif re.search(r":.*;", bare):
        cure = "groups are not mailed; give a list of their addresses"
    elif bare.endswith((",", ";")) or (bare.count("@") > 1 and _several.search(bare)):
        cure = "give several addresses as a list, ['a@example.org', 'b@example.org']"
    elif _odd_dots.search(bare):
        cure = "a part before the @ with such dots must be quoted, '\"a..b\"@example.org'"
    else:
        cure = "write 'name@example.org' or 'Name <name@example.org>'"
    return AddressError(f"{field}: {_shown(text)} is not an address; {cure}.", field=field)


def _too_long(text: str, field: str) -> AddressError:
    return AddressError(
        f"{field}: {_shown(text)} is longer than RFC 5321 allows ({_LOCAL_MAX} octets before the @, "
        f"{_ADDR_MAX} in all); check it for text that is not part of the address.",
        field=field,
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
