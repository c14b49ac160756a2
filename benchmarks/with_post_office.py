"""Django with django-post_office on SQLite: its settings, tuned, and what fills its queue.

Tuned means: no log rows, the whole queue in one batch, whose rows are updated at once at its end (a kill repeats all of
it), and as many threads as we have connections. One process, as ours is; it can have more.
"""

from __future__ import annotations

import os

SECRET_KEY = "bench"
USE_TZ = True
INSTALLED_APPS = ["post_office"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("BENCH_OUTBOX", ":memory:"),
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"},
    }
}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
EMAIL_BACKEND = "post_office.EmailBackend"
EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = int(os.environ.get("BENCH_PORT", "25"))
POST_OFFICE = {
    "BATCH_SIZE": 5_000,
    "THREADS_PER_PROCESS": 10,
    "LOG_LEVEL": 0,
    "MESSAGE_ID_ENABLED": True,
    "MESSAGE_ID_FQDN": "example.org",
}


def fill(count: int) -> None:
    """Make the tables and queue that many messages."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from post_office import mail

    from . import messages

    fields = {
        "sender": messages.SENDER,
        "recipients": [messages.RECIPIENT],
        "subject": messages.HTML["subject"],
        "message": messages.HTML["body"],
        "html_message": messages.HTML["html"],
    }
    mail.send_many([fields] * count)


if __name__ == "__main__":
    import sys

    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.with_post_office"
    fill(int(sys.argv[1]))
