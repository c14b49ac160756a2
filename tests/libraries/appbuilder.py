"""Flask-AppBuilder with self-registration, as its documentation sets it up."""

from __future__ import annotations

import threading
from pathlib import Path

from flask import Flask

from libraries import faces

Mail = faces.mail_class()  # the application's own; Flask-AppBuilder makes another one for each mail

from flask_appbuilder import AppBuilder  # noqa: E402
from flask_appbuilder.const import AUTH_DB  # noqa: E402
from flask_appbuilder.models.sqla.base import SQLA  # noqa: E402


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="a secret",
        AUTH_TYPE=AUTH_DB,
        AUTH_USER_REGISTRATION=True,
        AUTH_USER_REGISTRATION_ROLE="Public",
        RECAPTCHA_PUBLIC_KEY="public",
        RECAPTCHA_PRIVATE_KEY="private",
        TESTING=True,  # the registration form asks a captcha of Google's otherwise
        MAIL_SUPPRESS_SEND=False,
    )
    app.config.from_prefixed_env()
    db = SQLA(app)
    with app.app_context():
        AppBuilder(app, db.session)

    @app.get("/census")
    def census() -> dict[str, list[str]]:
        """The threads of this process, and what it holds open of the outbox."""
        opened = [descriptor.resolve().name for descriptor in Path("/proc/self/fd").iterdir()]
        return {
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "outbox": sorted(name for name in opened if name.startswith("outbox.sqlite")),
        }

    return app
