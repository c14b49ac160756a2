"""The application that mail is sent for: Flask's, or Quart's, which is Flask's on a loop.

Quart's has the same attributes, but its contexts are entered by coroutines, its hooks are awaited, and what is current
stands in variables of its own. Quart is not imported here: where nobody has, no application is one of its.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from typing import Any, Protocol

from flask import Flask, Response, current_app, has_app_context, has_request_context, request


class Attendant(Protocol):
    """What an application calls."""

    @property
    def sending(self) -> bool:
        """Whether any answer may have to wait."""
        ...

    def on_request(self) -> None:
        """A request begins."""
        ...

    def on_response(self, response: Response) -> Response:
        """An answer is about to leave, and may wait."""
        ...

    def on_end(self, error: BaseException | None) -> None:
        """A context ends, by an error or without one."""
        ...

    def close(self) -> None:
        """No more requests come; blocks until what is in hand is done."""
        ...


def application_here() -> Flask | None:
    """The current application, if any."""
    if has_app_context():
        return current_app._get_current_object()  # type: ignore[attr-defined,no-any-return]
    quart = _quart()
    return quart.current_app._get_current_object() if quart and quart.has_app_context() else None


def request_here() -> object | None:
    """The current request, if any."""
    if has_request_context():
        return request._get_current_object()  # type: ignore[attr-defined,no-any-return]
    quart = _quart()
    return quart.request._get_current_object() if quart and quart.has_request_context() else None


def context_of(app: Flask) -> Callable[[], AbstractContextManager[object]]:
    """What makes a context of an application, for a thread that has no loop."""
    return app.app_context if isinstance(app, Flask) else lambda: _entered(app)


def attend(app: Flask, attendant: Attendant) -> None:
    """Have it called by an application that has not yet served a request."""
    if isinstance(app, Flask):
        app.before_request(attendant.on_request)
        app.after_request(attendant.on_response)
        app.teardown_appcontext(attendant.on_end)
    else:
        _attend_quart(app, attendant)


def _quart() -> Any:
    return sys.modules.get("quart")


def _attend_quart(app: Any, attendant: Attendant) -> None:
    # As coroutines, because each function that is none costs a request a thread.
    async def on_request() -> None:
        attendant.on_request()

    async def on_response(response: Response) -> Response:
        if attendant.sending:
            await _off_loop(attendant.on_response, response)
        return response

    async def on_end() -> None:
        await _off_loop(attendant.close)

    app.before_request(on_request)
    app.after_request(on_response)
    app.after_serving(on_end)


async def _off_loop(function: Callable[..., object], *args: object) -> None:
    import asyncio

    await asyncio.to_thread(function, *args)


@contextmanager
def _entered(app: Any) -> Iterator[None]:
    """Quart's context. What entering it sets within a loop is set here as well."""
    import asyncio

    inside, context = copy_context(), app.app_context()
    with asyncio.Runner() as runner:
        runner.run(context.__aenter__(), context=inside)
        changed = [
            (variable, variable.set(value))
            for variable, value in inside.items()
            if variable.get(None) is not value
        ]
        try:
            yield
        finally:
            for variable, before in reversed(changed):
                variable.reset(before)
            runner.run(context.__aexit__(*sys.exc_info()), context=inside)
