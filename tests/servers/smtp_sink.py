"""Postfix's smtp-sink: a server that takes everything fast, or refuses, drops and delays what it is told to."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .housed import Housed
from .process import Process, free_port, wait_until


class SmtpSink(Housed):
    """A running smtp-sink that keeps the content of each transaction as a file.

    :param options: its own, see smtp-sink(1): ``-f RCPT`` refuses for good and ``-r DATA`` for now (both without
        PIPELINING), ``-q .`` drops the connection without a reply, ``-Q .`` with 421, ``-W .:1`` replies a second late.
    :param backlog: connections that may wait to be taken.
    """

    def __init__(self, *options: str, backlog: int = 100) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="smtp-sink-", dir="/tmp"))
        self._dump = self.folder / "dump"
        self._dump.mkdir()
        # It gives up root's rights before it writes, to an account that exists wherever there is a root.
        account: Sequence[str] = ()
        if os.geteuid() == 0:
            account = ("-u", "nobody")
            self.folder.chmod(0o755)
            shutil.chown(self._dump, "nobody")
        dump = ("-d", f"{self._dump}/")
        address = (f"127.0.0.1:{self.port}", str(backlog))
        try:
            self._process = Process(
                ["smtp-sink", *account, *options, *dump, *address],
                ports=[self.port],
                log=self.folder / "output",
            )
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def count(self) -> int:
        """How many contents it has taken so far; also one whose final dot it then refused (``-f .``)."""
        self._process.check_alive()
        return len(list(self._dump.iterdir()))

    def messages(self, count: int) -> list[bytes]:
        """What it has taken, in no order, as soon as it is ``count`` messages or more.

        Each begins with the ``X-Client-Addr``, ``X-Mail-Args`` and ``X-Rcpt-Args`` lines that smtp-sink adds.
        """
        wait_until(lambda: self.count() >= count, f"{count} messages at smtp-sink")
        return [file.read_bytes() for file in self._dump.iterdir()]
