"""Flask-Security-Too as its quickstart shows it: registration, confirmation, reset, change, and a link to sign in."""

from __future__ import annotations

import os

from flask import Flask

from libraries import faces

Mail = faces.mail_class()

from flask_security import Security, SQLAlchemyUserDatastore, user_registered  # noqa: E402
from flask_security.models import fsqla_v3  # noqa: E402
from flask_sqlalchemy import SQLAlchemy  # noqa: E402


def create_app(**config: object) -> Flask:
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="a secret",
        SECURITY_PASSWORD_SALT="salt",
        SECURITY_PASSWORD_HASH="plaintext",  # bcrypt takes its time
        SECURITY_PASSWORD_SCHEMES=["plaintext"],
        SECURITY_DEPRECATED_PASSWORD_SCHEMES=[],
        SECURITY_EMAIL_VALIDATOR_ARGS={"test_environment": True, "check_deliverability": False},
        SECURITY_HASHING_SCHEMES=["hex_md5"],
        SECURITY_DEPRECATED_HASHING_SCHEMES=[],
        SECURITY_REGISTERABLE=True,
        SECURITY_CONFIRMABLE=True,
        SECURITY_RECOVERABLE=True,
        SECURITY_CHANGEABLE=True,
        SECURITY_UNIFIED_SIGNIN=True,
        SECURITY_US_ENABLED_METHODS=["email", "password"],
        SECURITY_TOTP_SECRETS={1: "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"},
        SECURITY_TOTP_ISSUER="example",
    )
    app.config.from_prefixed_env()
    app.config.update(config)
    app.mail = Mail(app)  # type: ignore[attr-defined]
    db = SQLAlchemy(app)
    fsqla_v3.FsModels.set_db_info(db)

    class Role(db.Model, fsqla_v3.FsRoleMixin):  # type: ignore[name-defined]
        pass

    class User(db.Model, fsqla_v3.FsUserMixin):  # type: ignore[name-defined]
        pass

    app.security = Security(app, SQLAlchemyUserDatastore(db, User, Role))  # type: ignore[attr-defined]
    with app.app_context():
        db.create_all()

    @user_registered.connect_via(app)
    def sign_in_by_link(app: Flask, user: User, **more: object) -> None:
        app.security.datastore.us_setup_email(user)  # type: ignore[attr-defined]

    @app.get("/")
    def index() -> str:
        return f"process {os.getpid()}"

    return app
