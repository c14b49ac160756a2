"""Celery, as the application of a campaign has it: one module names it, and makes nothing else."""

from __future__ import annotations

import os

from celery import Celery

celery = Celery("campaign", broker=os.environ["BROKER"], include=["campaign.celery_worker"])
celery.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
