"""Which Flask-Mail an application of this folder runs on: the variable ``FACE`` of its environment.

Each test runs on ``original`` too, where it can: what it says is then Flask-Mail's own behaviour.
"""

from __future__ import annotations

import os
from typing import Any

#: Flask-Mail itself.
ORIGINAL = "original"
#: Flask-Outbox under the name ``flask_mail``, before anything imports it.
INSTALLED = "installed"
#: Flask-Outbox's ``Mail`` beside an installed Flask-Mail, whose ``Message`` the library goes on making.
FOREIGN = "foreign"
#: Flask-Outbox under its own name.
OUTBOX = "outbox"


def mail_class() -> Any:
    """The ``Mail`` that the application makes, after what has to come before a library's import."""
    face = os.environ["FACE"]
    if face == INSTALLED:
        import flask_outbox

        flask_outbox.install_as_flask_mail()
    if face in (FOREIGN, OUTBOX):
        from flask_outbox import Mail
    else:
        from flask_mail import Mail
    return Mail
