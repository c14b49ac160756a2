"""What several tests of transports share."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
import trustme

from .sending import LOOPS, chosen_loop


@pytest.fixture(scope="session")
def server_tls() -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that nobody has a reason to trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(params=LOOPS)
def each_loop(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs on Python's loop, then on uvloop, which reads, writes and encrypts by code of its own."""
    before = chosen_loop.set(request.param)
    yield request.param
    chosen_loop.reset(before)
