"""A Dovecot of the test's own, which speaks LMTP only: over TCP and over a Unix socket, a maildir for each user.

It shares the program files with the system's Dovecot and nothing else; all it writes is in a folder under /tmp.
"""

from __future__ import annotations

import pwd
import shutil
import tempfile
from pathlib import Path

from .housed import Housed
from .process import Process, free_port

_CONFIGURATION = """\
protocols = lmtp
base_dir = {folder}/base
state_dir = {folder}/state
log_path = {folder}/log
ssl = no
mail_location = maildir:~
first_valid_uid = 1
mail_plugins = quota
quota_full_tempfail = {tempfail}
plugin {{
  quota = count:User
  quota_vsizes = yes
}}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
"""


class Dovecot(Housed):
    """A running Dovecot.

    :param users: the addresses it has a mailbox for; all others are refused at RCPT.
    :param full: the one of them whose mailbox takes nothing any more: it is said after the content.
    :param tempfail: that is said to be so for now only.
    """

    def __init__(self, *users: str, full: str = "", tempfail: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.socket = self.folder / "lmtp"
        self._users = [*users, *filter(None, [full])]
        try:
            self._configure(full, tempfail)
            self._process = Process(
                ["dovecot", "-F", "-c", self.folder / "dovecot.conf"],
                ports=[self.port],
                log=self.folder / "output",
            )
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def messages(self, user: str, count: int = 1) -> list[bytes]:
        """What was delivered to a user, as soon as it is ``count`` messages or more."""
        inbox = self.folder / "mail" / user / "new"

        files = self.arrived(inbox, count, f"for {user} in Dovecot (see {self.folder}/log)")
        return [file.read_bytes() for file in files]

    def make_room(self) -> None:
        """The full mailbox is full no more."""
        self._write_users(full="")

    def _configure(self, full: str, tempfail: bool) -> None:
        (self.folder / "mail").mkdir()
        shutil.chown(self.folder / "mail", "nobody")
        self._write_users(full)
        said = "yes" if tempfail else "no"
        text = _CONFIGURATION.format(folder=self.folder, port=self.port, tempfail=said)
        (self.folder / "dovecot.conf").write_text(text)

    def _write_users(self, full: str) -> None:
        nobody = pwd.getpwnam("nobody")
        lines = []
        for user in self._users:
            quota = "userdb_quota_rule=*:bytes=1" if user == full else ""
            home = self.folder / "mail" / user
            lines.append(f"{user}:{{PLAIN}}x:{nobody.pw_uid}:{nobody.pw_gid}::{home}::{quota}\n")
        (self.folder / "users").write_text("".join(lines))
