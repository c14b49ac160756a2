"""uWSGI, which does not tell Python of the end of a process that is answering a request, unless that ends first."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from journeys.accounting import AccountingServer
from servers.process import wait_until
from ways.runner import Gate
from ways.table import WAYS
from ways.web import Web

(UWSGI,) = (way for way in WAYS if way.slug == "uwsgi-master")


def test_told_to_end_while_a_view_is_at_work_it_drains_as_well(tmp_path: Path) -> None:
    with AccountingServer() as server, closing(Web(UWSGI, tmp_path, server)) as web:
        process = web.running()
        gate = Gate(server)
        web.post(5, "linger")
        gate.wait()
        web.ask_to_end(process)
        wait_until(lambda: "Gracefully killing worker" in web.log, "signal")
        gate.open()
        (tmp_path / "go").touch()
        process.wait()
        web.check_written_down(0)
        assert web.sent <= web.states().keys()
