"""What a worker thread costs the web process that it runs in: how long small requests take while it sends."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles

from servers.process import free_port, wait_until

from . import messages
from .filling import fill, multiply
from .measure import alternate
from .pythons import running
from .scale import Scale
from .services import Sink, folder
from .table import Row, rate, seconds
from .with_flask_outbox import environment, web

#: The cap of the worker thread where nothing is set, letters a second.
CAP = 200.0

#: Letters that are sent before the measuring begins: more than what a cap saves up for the start.
_BEFORE = 120

_WAYS = {
    "ours": {"MAIL_WORKER": "thread"},
    "no worker thread": {"MAIL_WORKER": "external"},
    "a thread without the cap": {"MAIL_WORKER": "thread", "MAIL_WORKER_RATE": "100000"},
}


@dataclass(frozen=True, slots=True)
class Felt:
    """What the visitors of one process felt.

    :param half: seconds within which half of the requests were answered.
    :param most: those within which 99 of 100 were.
    :param sent: letters a second that left meanwhile.
    """

    half: float
    most: float
    sent: float


def run(scale: Scale) -> Iterator[Row]:
    ways = {name: _felt(scale, settings) for name, settings in _WAYS.items()}
    found = alternate(ways, scale.drains)
    halves = {name: median(each.half for each in felt) for name, felt in found.items()}
    mosts = {name: median(each.most for each in felt) for name, felt in found.items()}
    for what, figures in (("request while mail is sent, p50", halves), ("  p99 of them", mosts)):
        for place, against in enumerate(list(_WAYS)[1:]):
            name = "  beside" if place else what
            yield Row(name, seconds, figures["ours"], against, figures[against])
    sent = median(each.sent for each in found["ours"])
    yield Row("  messages sent meanwhile", rate, sent, "its cap", CAP)


def _felt(scale: Scale, settings: dict[str, str]) -> Callable[[], Felt]:
    def figure() -> Felt:
        with folder() as room, Sink(room, counting=True) as sink:
            url, port = f"sqlite:///{room}/outbox.sqlite", free_port()
            multiply(url, fill(url, 1, messages.HTML), scale.behind + _BEFORE)
            ours = {**environment(url, sink.port), **settings}
            with running(web(port), ours, room / "web.log", port):
                visit(port, 1)
                if settings["MAIL_WORKER"] == "thread":
                    wait_until(lambda: sink.count() >= _BEFORE, "first letters")
                before, began = sink.count(), time.perf_counter()
                took = visit(port, scale.requests)
                sent = (sink.count() - before) / (time.perf_counter() - began)
        return Felt(median(took), quantiles(took, n=100)[-1], sent)

    return figure


def visit(port: int, requests: int) -> list[float]:
    """Seconds of each of so many requests, one after the other over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    took = []
    for _ in range(requests):
        started = time.perf_counter()
        connection.request("GET", "/")
        connection.getresponse().read()
        took.append(time.perf_counter() - started)
    connection.close()
    return took
