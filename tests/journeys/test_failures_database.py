"""A worker that begins while its database is away: it says so and ends, and whoever started it starts it again."""

from __future__ import annotations

import pytest
from flask import Flask

from flask_outbox import Mail
from flask_outbox._cli import mail_cli
from servers.process import free_port

URLS = ["postgresql+psycopg://me@127.0.0.1:{}/shop", "mysql+pymysql://me@127.0.0.1:{}/shop"]


@pytest.mark.parametrize("url", URLS)
def test_a_worker_that_finds_no_database_says_so_in_a_line_and_ends(app: Flask, url: str) -> None:
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_OUTBOX_URL=url.format(free_port()))
    Mail(app)
    result = app.test_cli_runner().invoke(mail_cli, ["worker"])
    assert result.exit_code == 1
    assert "Error: The outbox's database refused: " in result.output
    assert "Traceback" not in result.output
    app.extensions["flask_outbox"].close()
