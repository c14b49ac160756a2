"""How much mail may go out: rates by transport and by recipient domain, and the breaker of a transport.

A rate is kept by what was spent: so many at such a moment. What was spent within the last window is not there again,
so that no window, wherever it begins, sees more than its limit; tokens that refill while others are saved up would
let twice as much through. Up to :data:`SLOTS` moments of a window are told apart. Where more could be, those of one
slot count as its end, which is at most a twentieth of a window too careful.

A breaker counts the tries in a row that failed by the fault of their transport. From so many on it is open: nothing
is sent for a while, and then one letter tries. Its success closes it.

Moments are milliseconds, as they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from ..errors import ConfigurationError
from .outcomes import Report, Scope

#: The windows of a rate, with their seconds.
WINDOWS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}

#: How many moments of a window are told apart.
SLOTS = 20

#: How long the name of a lane may be.
LANE = 320

#: What was spent: for each window, moments with the number of letters, oldest first.
Spent = Mapping[str, Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Limit:
    """How many messages may be sent within each second, minute, hour and day, and be under way at once.

    :param connections: messages in the hands of all workers together.
    """

    second: int | None = None
    minute: int | None = None
    hour: int | None = None
    day: int | None = None
    connections: int | None = None

    def __post_init__(self) -> None:
        given = [getattr(self, one.name) for one in fields(self)]
        if any(value is not None and value < 1 for value in given) or not any(given):
            raise ConfigurationError(
                "'MAIL_LIMITS' wants integers of 1 or more, for one at least of:"
                f" {', '.join(one.name for one in fields(self))}."
            )

    @property
    def rates(self) -> dict[str, int]:
        """The windows that have a limit, with it."""
        found = {window: getattr(self, window) for window in WINDOWS}
        return {window: most for window, most in found.items() if most is not None}


def left(limit: Limit, spent: Spent, now: int) -> int | None:
    """How many letters may still go at that moment; None where no window has a limit."""
    rates = limit.rates.items()
    return min((most - _sum(_live(spent, w, most, now)) for w, most in rates), default=None)


def spend(limit: Limit, spent: Spent, now: int, letters: int) -> Spent:
    """What is spent after so many more letters."""
    after: dict[str, list[Sequence[int]]] = {}
    for window, most in limit.rates.items():
        live, moment = _live(spent, window, most, now), _moment(window, most, now)
        before = live.pop()[1] if live and live[-1][0] == moment else 0
        after[window] = [*live, (moment, before + letters)]
    return after


def give_back(limit: Limit, spent: Spent, since: int, letters: int) -> Spent:
    """What is spent where so many of those that were spent at a moment were not sent after all."""
    after: dict[str, list[Sequence[int]]] = {}
    for window, most in limit.rates.items():
        then = _moment(window, most, since)
        less = [(at, n - letters if at == then else n) for at, n in spent.get(window, ())]
        after[window] = [(at, n) for at, n in less if n > 0]
    return after


def opens(limit: Limit, spent: Spent, now: int) -> int | None:
    """When the next letter may go; None for now."""
    waits = [
        _live(spent, window, most, now)[0][0] + WINDOWS[window] * 1000
        for window, most in limit.rates.items()
        if _sum(_live(spent, window, most, now)) >= most
    ]
    return max(waits, default=None)


def _slot(window: str, most: int) -> int:
    return WINDOWS[window] * 1000 // SLOTS if most > SLOTS else 1


def _moment(window: str, most: int, now: int) -> int:
    """As which a moment counts."""
    slot = _slot(window, most)
    return -(-now // slot) * slot


def _live(spent: Spent, window: str, most: int, now: int) -> list[Sequence[int]]:
    """What still counts. What lies ahead was written by a clock that was set back since, and counts as now."""
    latest, length = _moment(window, most, now), WINDOWS[window] * 1000
    return [(min(at, latest), n) for at, n in spent.get(window, ()) if at + length > now]


def _sum(spent: Iterable[Sequence[int]]) -> int:
    return sum(letters for _, letters in spent)


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a transport counts as broken.

    :param failures: in a row, from which on nothing is sent.
    :param pause: seconds until one letter tries again.
    """

    failures: int
    pause: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ConfigurationError("'MAIL_BREAKER' must be an integer of 1 or more.")
        if self.pause <= 0:
            raise ConfigurationError("'MAIL_BREAKER_PAUSE' must be a number of seconds above 0.")


@dataclass(frozen=True, slots=True)
class Streak:
    """How the last tries over a transport ended.

    :param succeeded: whether one of them reached it.
    :param failures: how many in a row failed by its fault, since then.
    """

    succeeded: bool = False
    failures: int = 0

    def then(self, report: Report) -> Streak:
        """After one more try."""
        if not report:
            return self
        if all(o.scope is Scope.TRANSPORT and not o.accepted for _, o in report):
            return Streak(self.succeeded, self.failures + 1)
        return Streak(succeeded=True)

    def after(self, failures: int) -> int:
        """How many failures in a row it is, where so many came before."""
        return self.failures if self.succeeded else failures + self.failures


@dataclass(frozen=True, slots=True)
class Limits:
    """Everything that is set about limits. Nothing is, by default.

    :param transports: by name.
    :param domains: of recipients, in lower case; each counts for every transport by itself.
    """

    transports: Mapping[str, Limit] = field(default_factory=dict)
    domains: Mapping[str, Limit] = field(default_factory=dict)
    breaker: Breaker | None = None

    def lane(self, transport: str, recipients: Iterable[str]) -> str:
        """The lane of a letter: its transport, and those of its recipients' domains that have limits."""
        if not self.domains:
            return transport
        found = {to.rpartition("@")[2].lower() for to in recipients} & self.domains.keys()
        lane = transport
        for domain in sorted(found):
            if len(lane) + 1 + len(domain) <= LANE:
                lane += f" {domain}"
        return lane

    def of(self, lane: str) -> dict[str, Limit]:
        """What limits a lane, each by the name under which is kept what was spent of it."""
        transport, *domains = lane.split(" ")
        found = {transport: self.transports.get(transport)}
        found |= {f"{transport} {domain}": self.domains.get(domain) for domain in domains}
        return {name: limit for name, limit in found.items() if limit is not None}


def concerns(name: str, lane: str) -> bool:
    """Whether what is limited under a name is a letter of that lane, too."""
    transport, *domains = name.split(" ")
    its, *all_domains = lane.split(" ")
    return transport == its and set(domains) <= set(all_domains)
