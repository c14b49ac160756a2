"""A composed message that is too large to be in memory whole: its attachments are encoded while it is read."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

#: Bytes above which a message is large.
LARGE = 65_536

#: Bytes of a large one that are made at once.
PIECE = 262_144

# Base64 is written in lines of 76 characters (RFC 2045 6.8), which Struct cuts more quickly than slicing does.
_LINE = 76
_BLOCK_LINES = 128
_BLOCK = _BLOCK_LINES * 57
_cut_block = Struct(f"{_LINE}s" * _BLOCK_LINES).unpack


class Base64:
    """Data in lines of base64, made while it is read: blocks of them, between which a line ends.

    A block is done before the next is begun, since more than one does not stay in the processor's cache.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        encoded = -(-len(self._data) // 3) * 4
        return encoded + 2 * max(0, -(-encoded // _LINE) - 1)

    def __iter__(self) -> Iterator[bytes]:
        data = self._data
        whole = len(data) - len(data) % _BLOCK
        for start in range(0, whole, _BLOCK):
            block = b2a_base64(data[start : start + _BLOCK], newline=False)
            yield b"\r\n".join(_cut_block(block))
        if whole < len(data) or not data:
            rest = b2a_base64(data[whole:], newline=False)
            yield b"\r\n".join([rest[at : at + _LINE] for at in range(0, len(rest), _LINE)])


#: What a message is made of: whole lines, and a line ends between one and the next.
Chunk = bytes | Base64


def blocks(chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """All that is in them, none of it much larger than a piece; a line ends between one and the next."""
    for chunk in chunks:
        yield from _cut(chunk) if isinstance(chunk, bytes) else chunk


def _cut(data: bytes) -> Iterator[bytes]:
    start = 0
    while len(data) - start > PIECE:
        end = data.rfind(b"\r\n", start, start + PIECE)
        if end < 0:
            break
        yield data[start:end]
        start = end + 2
    yield data[start:] if start else data


class Content:
    """A large message. To go through it gives its bytes, in pieces of whole lines.

    :param chunks: the last of which ends with a line end, or is empty.
    """

    __slots__ = ("_chunks",)

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks

    def __len__(self) -> int:
        return sum(map(len, self._chunks)) + 2 * (len(self._chunks) - 1)

    def __iter__(self) -> Iterator[bytes]:
        gathered: list[bytes] = []
        size = 0
        for block in blocks(self._chunks):
            if size + len(block) > PIECE:
                yield b"\r\n".join([*gathered, b""])
                gathered, size = [], 0
            gathered.append(block)
            size += len(block) + 2
        yield b"\r\n".join(gathered)

    def __bytes__(self) -> bytes:
        return b"".join(self)

    def isascii(self) -> bool:
        """Whether it has seven bits alone."""
        return all(chunk.isascii() for chunk in self._chunks if isinstance(chunk, bytes))

    def below(self, line: bytes) -> Content:
        """The same below a further line, which may be folded, without its end."""
        return Content([line, *self._chunks])


#: A message composed, whole or large.
Composed = bytes | Content


def pieces(content: Composed) -> Iterable[bytes]:
    """Its bytes, in pieces of whole lines."""
    return (content,) if isinstance(content, bytes) else content
