"""How a worker tells systemd that it is ready, what it does, and that it lives: sd_notify(3).

One datagram a message, of lines ``KEY=value``, to the socket that ``NOTIFY_SOCKET`` names. Without that variable
nobody asked, and nothing is sent.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping

from .health import Health

logger = logging.getLogger("flask_outbox")

#: The variables that are meant for the process systemd started, and not for its children.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


def address(name: str) -> str | None:
    """What to send to, for a ``NOTIFY_SOCKET``; None for what is no Unix socket.

    A leading ``@`` stands for the NUL of Linux's abstract sockets.
    """
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """The seconds within which systemd wants a sign of life from this process; None if it wants none."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", "") in ("", str(pid))
    if not (meant and microseconds.isdecimal() and int(microseconds)):
        return None
    return int(microseconds) / 1_000_000


def reloading(monotonic_ns: int) -> tuple[str, str]:
    """That the settings are read again; the moment is what a unit of ``Type=notify-reload`` waits to see."""
    return ("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns // 1000}")


def news(health: Health, *, ready: bool) -> tuple[str, ...]:
    """What one look at a worker says.

    :param ready: whether to say that the start or the reload is done.
    """
    # The watchdog is fed by what the worker does, not by the mere fact that a process is there.
    alive = ("WATCHDOG=1",) if health.alive else ()
    status = " ".join(
        str(health).split()
    )  # the words of an error may have lines, which would be ours
    return (*(("READY=1",) if ready else ()), f"STATUS={status}", *alive)


class Systemd:
    """The service manager, if one asked to be told.

    :param environ: of the process as it was started.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self._address = address(environ.get("NOTIFY_SOCKET", ""))
        self._ready = self._reloading = False
        within = watchdog(environ, pid)
        #: Seconds between two signs of life, half of what is waited for; None if no watchdog is set.
        self.interval = within and within / 2

    @property
    def asks(self) -> bool:
        """Whether it wants to be told."""
        return self._address is not None

    def see(self, health: Health) -> None:
        """Tell it how the worker fares; the first time also that it is ready."""
        becomes_ready = not (self._ready or self._reloading)
        if self._tell(*news(health, ready=becomes_ready)):
            self._ready |= becomes_ready

    def reload(self) -> None:
        """Tell it that the settings are being read again."""
        self._ready, self._reloading = False, True
        self._tell(*reloading(time.monotonic_ns()))

    def reloaded(self) -> None:
        """They have been; the next look tells it."""
        self._reloading = False

    def stop(self) -> None:
        """Tell it that the end was asked for."""
        self._tell("STOPPING=1", "STATUS=Finishes what is being sent.")

    def _tell(self, *lines: str) -> bool:
        if self._address is None:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
            notifying.setblocking(False)
            try:
                notifying.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:
                logger.warning("systemd could not be told %s: %s", lines[0], error)
                return False
        return True
