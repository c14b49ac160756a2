"""The bell between whoever stores a letter and whoever drains."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from flask_outbox.delivery.wakeup import Bell, bell_path


def test_the_bell_is_beside_the_file() -> None:
    assert bell_path("/srv/app/outbox.sqlite") == "/srv/app/outbox.sqlite.bell"


def test_a_path_too_long_for_a_socket_gets_a_short_stable_name() -> None:
    long = "/srv/" + "a" * 120 + "/outbox.sqlite"
    assert bell_path(long) == bell_path(long)
    assert len(bell_path(long)) < 100
    assert bell_path(long) != bell_path(long + "2")


def test_a_ring_wakes_the_listener(tmp_path: Path) -> None:
    async def heard() -> bool:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        listener, ringer = Bell(str(tmp_path / "b")), Bell(str(tmp_path / "b"))
        listener.listen(loop, woken.set)
        ringer.ring()
        async with asyncio.timeout(5):
            await woken.wait()
        listener.deafen(loop)
        return woken.is_set()

    assert asyncio.run(heard())


def test_ringing_where_nobody_listens_is_no_error(tmp_path: Path) -> None:
    bell = Bell(str(tmp_path / "b"))
    bell.ring()
    assert not (tmp_path / "b").exists()


def test_a_thousand_rings_that_nobody_hears_do_not_block(tmp_path: Path) -> None:
    async def count() -> int:
        loop, heard = asyncio.get_running_loop(), []
        listener, ringer = Bell(str(tmp_path / "b")), Bell(str(tmp_path / "b"))
        listener.listen(loop, lambda: heard.append(1))
        for _ in range(1000):
            ringer.ring()
        while not heard:
            await asyncio.sleep(0)
        listener.deafen(loop)
        return len(heard)

    assert asyncio.run(count()) == 1


def test_a_listener_takes_the_name_over_from_a_dead_one_and_keeps_it_private(
    tmp_path: Path,
) -> None:
    async def mode() -> int:
        loop, path = asyncio.get_running_loop(), tmp_path / "b"
        dead, alive = Bell(str(path)), Bell(str(path))
        dead.listen(loop, int)
        alive.listen(loop, int)
        found = path.stat().st_mode
        alive.deafen(loop)
        dead.deafen(loop)
        return stat.S_IMODE(found)

    assert asyncio.run(mode()) == 0o600
