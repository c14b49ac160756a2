"""A small disk of the test run's own, which can be filled: a file system in memory, that only root may mount."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Self


class Disk:
    """One; a context manager.

    :param megabytes: that it holds.
    """

    def __init__(self, megabytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flask-outbox-disk-"))
        self._ballast = self.folder / "ballast"
        self._size = megabytes

    def __enter__(self) -> Self:
        options = f"size={self._size}m,mode=755"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except BaseException:
            self.folder.rmdir()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Who was killed may hold a file of it for a moment yet.
        subprocess.run(["umount", "--lazy", self.folder], check=True)
        self.folder.rmdir()

    def fill(self) -> None:
        """Leave not a byte."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                return

    def free(self) -> None:
        """Give back what :meth:`fill` took."""
        self._ballast.unlink(missing_ok=True)


@cache
def mountable() -> bool:
    """Whether one can be mounted here: by root, but not in every container."""
    if os.geteuid() != 0:
        return False
    try:
        with Disk(1):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False
