"""The one table: what, ours, the peer's, their ratio, the gate and whether it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Unit = Callable[[float], str]

_WIDTHS = (46, 16, 34, 9, 9)


@dataclass(frozen=True, slots=True)
class Gate:
    """What DESIGN promises.

    :param absolute: of our figure itself, where it is not of the ratio to the peer's.
    """

    text: str
    most: float = float("inf")
    least: float = 0.0
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    :param unit: how its figures are written.
    :param ours: None where what it needs is not installed.
    :param against: whose figure ours is held against; "" where there is nobody's.
    :param theirs: None where the peer is not installed.
    """

    what: str
    unit: Unit
    ours: float | None
    against: str = ""
    theirs: float | None = None
    gate: Gate | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.ours is not None and self.theirs else None

    @property
    def verdict(self) -> str:
        """``ok`` or ``NOT``; "" where there is no gate, or nothing that could be held against it."""
        figure = self.ours if self.gate and self.gate.absolute else self.ratio
        if self.gate is None or figure is None:
            return ""
        return "ok" if self.gate.least <= figure <= self.gate.most else "NOT"

    def cells(self) -> tuple[str, ...]:
        if not self.against:
            peer = ""
        elif self.theirs is None:
            peer = f"{self.against}: not installed"
        else:
            peer = f"{self.against}: {self.unit(self.theirs)}"
        ratio = "" if self.ratio is None else _ratio(self.ratio)
        return (
            self.what,
            "not installed" if self.ours is None else self.unit(self.ours),
            peer,
            ratio,
            self.gate.text if self.gate else "",
            self.verdict,
        )


HEAD = ("what", "ours", "peer", "ratio", "gate", "")


def line(cells: tuple[str, ...]) -> str:
    """One line of the table, whose columns stand before all rows are known: a run takes minutes."""
    padded = [cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)]
    return "  ".join([*padded, *cells[len(padded) :]]).rstrip()


def seconds(value: float) -> str:
    for size, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def rate(value: float) -> str:
    return f"{value:,.0f} msg/s"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.1f} MB"


def count(value: float) -> str:
    return f"{value:.2f}"


def _ratio(value: float) -> str:
    return f"1/{1 / value:.3g}" if 0 < value < 0.5 else f"{value:.3g}"
