"""The table of states as an SVG: what is live on the left, what it becomes in a column on the right.

Solid are the ways of what is live, dashed those that are for a person: all that lead out of a state which is
not live. The picture has the page's colours, by CSS.
"""

from __future__ import annotations

from collections.abc import Iterator

from flask_outbox.rules.states import LIVE, TRANSITIONS, State

_WIDTH, _HEIGHT = 116, 36
_TOP, _STEP = 24, 58
_COLUMN = 470  # where the column on the right begins
_BUS = 660  # where the ways back go down

_ENDS = [state for state in State if state not in LIVE]
_BOTTOM = _TOP + _STEP * len(_ENDS) + 8

#: The upper left corner of each state's box.
_PLACES = {
    State.QUEUED: (10, _TOP),
    State.SENDING: (230, _TOP),
    **{state: (_COLUMN, _TOP + _STEP * row) for row, state in enumerate(_ENDS)},
}


def diagram() -> str:
    """The SVG element."""
    ways = "".join(way for state in State for way in _ways(state))
    boxes = "".join(map(_box, State))
    return f"""
<div class="states"><svg viewBox="0 0 {_BUS + 10} {_BOTTOM + 10}" role="img" aria-labelledby="states-title">
<title id="states-title">The states of a delivery. The table below says the same.</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z"/></marker></defs>
{ways}{_way_back()}{boxes}</svg></div>"""


def _way_back() -> str:
    """The line on which all come back to the queue."""
    first = min(_PLACES[state][1] for state in _ENDS if State.QUEUED in TRANSITIONS[state])
    x, y = _PLACES[State.QUEUED]
    path = f"M{_BUS} {first + _HEIGHT / 2}V{_BOTTOM}H{x + _WIDTH * 0.3}V{y + _HEIGHT}"
    return f'<path class="person" marker-end="url(#tip)" d="{path}"/>'


def _box(state: State) -> str:
    x, y = _PLACES[state]
    return (
        f'<g class="box {state}"><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>'
        f'<text x="{x + _WIDTH / 2}" y="{y + _HEIGHT / 2}">{state}</text></g>'
    )


def _ways(state: State) -> Iterator[str]:
    """The ways out of a state."""
    by = "worker" if state in LIVE else "person"
    for after in sorted(TRANSITIONS[state], key=list(State).index):
        merges = by == "person" and after is State.QUEUED
        tip = "" if merges else ' marker-end="url(#tip)"'
        yield f'<path class="{by}"{tip} d="{_path(state, after)}"/>'


def _path(before: State, after: State) -> str:
    (x, y), (to_x, to_y) = _PLACES[before], _PLACES[after]
    middle, to_middle = y + _HEIGHT / 2, to_y + _HEIGHT / 2
    if before in LIVE and after in LIVE:
        across = middle + (7 if x > to_x else -7)
        start, end = (x + _WIDTH, to_x) if x < to_x else (x, to_x + _WIDTH)
        return f"M{start} {across}H{end}"
    if before is State.QUEUED:  # below the other
        start = f"M{x + _WIDTH * 0.7} {y + _HEIGHT}"
        return (
            f"{start}C{x + 130} {to_middle + 8} {to_x - 150} {to_middle + 8} {to_x} {to_middle + 8}"
        )
    if before in LIVE:
        half = (x + _WIDTH + to_x) / 2
        return (
            f"M{x + _WIDTH} {middle}C{half} {middle} {half} {to_middle - 8} {to_x} {to_middle - 8}"
        )
    right = x + _WIDTH
    if after is State.QUEUED:
        return f"M{right} {middle}H{_BUS}"
    bulge = right + 16 * abs(to_y - y) / _STEP + 14
    aside = 9 if to_y > y else -9
    return f"M{right} {middle + aside}C{bulge} {middle + aside} {bulge} {to_middle - aside} {right} {to_middle - aside}"
