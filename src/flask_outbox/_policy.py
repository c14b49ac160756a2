"""What the settings say about retries and limits, as the rules take it."""

from __future__ import annotations

from ._roads import signposts
from ._settings import DEFAULT, Settings
from .errors import ConfigurationError
from .rules.limits import Breaker, Limit, Limits
from .rules.retry import RetryPolicy


def retry_policy(settings: Settings) -> RetryPolicy:
    """When the outbox tries again."""
    own = {post.name: post.settings.retry_delays for post in signposts(settings)}
    return RetryPolicy(
        settings.retry_delays,
        of_transports={to: delays for to, delays in own.items() if delays != settings.retry_delays},
        of_outcomes=dict(settings.retry_delays_for),
    )


def limits_of(settings: Settings) -> Limits:
    """What holds mail back.

    :raises ConfigurationError: a limit is of nothing, or lets nothing through.
    """
    given = {name: Limit(**limit) for name, limit in settings.limits}
    known = {post.name for post in signposts(settings)} | {DEFAULT}
    if unknown := [name for name in given if not name.startswith("@") and name not in known]:
        raise ConfigurationError(
            f"MAIL_LIMITS: {unknown[0]!r} is no transport; there are: {', '.join(sorted(known))}. A domain of"
            " recipients begins with @."
        )
    breaker = settings.breaker or None
    return Limits(
        {name: limit for name, limit in given.items() if not name.startswith("@")},
        {name[1:]: limit for name, limit in given.items() if name.startswith("@")},
        None if breaker is None else Breaker(breaker, settings.breaker_pause),
    )
