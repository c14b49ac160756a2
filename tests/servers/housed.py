"""A server in a folder of its own: what all those have in common that the tests start."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Self

from .process import Process, wait_until


class Housed:
    """A running server; a subclass makes :attr:`folder` and starts the process."""

    folder: Path
    _process: Process

    @property
    def pid(self) -> int:
        """Of the process that was started; what that has started are its children."""
        return self._process.pid

    def arrived(self, inbox: Path, count: int, where: str) -> list[Path]:
        """The files of a maildir, as soon as it is ``count`` or more."""

        def complete() -> bool:
            self._process.check_alive()
            return inbox.is_dir() and len(list(inbox.iterdir())) >= count

        wait_until(complete, f"{count} messages {where}")
        return sorted(inbox.iterdir())

    def close(self) -> None:
        """Stop it and remove its folder; a second call does nothing."""
        if self.folder.exists():
            self._process.stop()
            shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
