"""What the worker of a campaign's Celery has besides its Celery: the application."""

from __future__ import annotations

from .application import create_app

app = create_app()
