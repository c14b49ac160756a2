"""The outbox in the application's own database, beside Flask-Migrate: neither touches the tables of the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Two rounds of what people run.
SCRIPT = """
import sys
import flask_outbox
from flask import Flask
from flask_migrate import Migrate
from flask_outbox import Mail
from flask_outbox._cli import mail_cli
from flask_sqlalchemy import SQLAlchemy

app = Flask("shop")
app.config.update(SQLALCHEMY_DATABASE_URI=sys.argv[1], MAIL_OUTBOX_URL=sys.argv[1], MAIL_WORKER="external")
app.config.update(MAIL_DEFAULT_SENDER="shop@example.org")
db = SQLAlchemy(app)
Migrate(app, db, **eval(sys.argv[2]))
mail = Mail(app)
app.cli.add_command(mail_cli)  # as an entry point does for the program

class Order(db.Model):
    id = db.Column(db.Integer, primary_key=True)

def run(*args):
    done = app.test_cli_runner().invoke(args=args)
    assert done.exit_code == 0, (args, done.output, done.exception)

run("mail", "init-db")
run("db", "init", "-d", "migrations")
for round in ("first", "second"):
    run("db", "migrate", "-d", "migrations", "-m", round)
    run("db", "upgrade", "-d", "migrations")
run("mail", "init-db")
with app.app_context():
    mail.send_message("Thank you", recipients=["visitor@example.org"], body="Hello")
    db.session.add(Order())
    db.session.commit()
    print([one.state for one in mail.messages()])
    db.engine.dispose()
"""


def run(folder: Path, url: str, options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, url, options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("server", ["postgres", "mariadb"])
def test_the_second_migration_is_empty(
    server: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(server).database()
    done = run(tmp_path, url, "{'include_name': flask_outbox.include_name}")
    assert done.returncode == 0, done.stderr
    (migration,) = (tmp_path / "migrations" / "versions").glob("*.py")
    assert "op.create_table('order'" in migration.read_text()
    assert "mail_" not in migration.read_text()
    assert done.stdout.strip() == "['queued']"


def test_without_it_the_first_migration_would_drop_the_outbox(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run(tmp_path, request.getfixturevalue("postgres").database(), "{}")
    (migration,) = (tmp_path / "migrations" / "versions").glob("*_first.py")
    assert "op.drop_table('mail_letter')" in migration.read_text()
