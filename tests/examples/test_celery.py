"""The comparison with Celery: Redis, apps and workers start when it is asked for, and are killed and looked after."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.conftest import up
from examples.test_side_by_side import copies, trials
from servers.process import wait_until


@pytest.mark.server("redis")
def test_kill_9_loses_what_a_task_had_and_not_what_the_outbox_has(tmp_path: Path) -> None:
    with up(tmp_path) as demo:
        for way, fate in (("celery-task", "lost"), ("celery", "arrived")):
            form = {"way": way, "situation": "killed", "slow_seconds": "1", "down_seconds": "1"}
            wait_until(lambda form=form: demo.ask("ways/", form)[0] == 303, "run")
            wait_until(
                lambda way=way, fate=fate: trials(demo, "killed").get(way, {}).get("fate") == fate,
                f"mail by {way} that has {fate}",
                deadline=90,
            )
            noted = trials(demo, "killed")[way]
            assert (noted["status"], noted["killed"] > noted["took"]) == (200, True)
            assert copies(demo, noted["email"]) == int(fate == "arrived")
