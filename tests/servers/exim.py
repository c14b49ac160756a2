"""An Exim of the test's own: STARTTLS, AUTH, PIPELINING, SMTPUTF8, and a maildir to read.

Debian lets no machine have Exim beside Postfix, so it is unpacked, not installed. Its program looks up an account of
its own by name, which then is nowhere: libnss-wrapper tells it one.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import trustme

from .housed import Housed
from .process import Process, free_port

#: What must lie beside the programs that ``./dev test`` unpacks.
WRAPPER = "libnss_wrapper.so"

_CONFIGURATION = """\
primary_hostname = {hostname}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
disable_ipv6 = true
domainlist local_domains = *
host_lookup =
rfc1413_hosts =
smtp_receive_timeout = 30s
smtputf8_advertise_hosts = *
tls_advertise_hosts = *
tls_certificate = {folder}/server.pem
auth_advertise_hosts = ${{if eq {{$tls_in_cipher}}{{}}{{}}{{*}}}}
acl_smtp_rcpt = check_recipient
acl_smtp_data = check_content
deliver_drop_privilege = true
keep_environment = ^LD_ : ^NSS_
never_users =
begin acl
check_recipient:
{refusals}\
  deny
    !authenticated = *
    message = relay not permitted
  accept
check_content:
  accept
begin authenticators
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${{if eq {{$auth1}}{{{username}}}{{{password}}}fail}}
  server_set_id = $auth1
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and {{{{eq {{$auth2}}{{{username}}}}}{{eq {{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
begin routers
all:
  driver = accept
  transport = inbox
begin transports
inbox:
  driver = appendfile
  directory = {folder}/mail/
  maildir_format
  user = {account}
"""

_REFUSAL = """\
  deny
    recipients = {address}
    message = {reply}
"""


class Exim(Housed):
    """A running Exim; every recipient of every domain is delivered to one maildir.

    :param refuse: recipients it does not take, each with the text after the 550.
    """

    username: ClassVar[str] = "me"
    password: ClassVar[str] = "secret word"
    hostname: ClassVar[str] = "mail.example.org"

    _account: ClassVar[str] = "Debian-exim"

    def __init__(self, *, refuse: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="exim-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.ca_file = self.folder / "ca.pem"
        try:
            self._make_certificate()
            self._make_folders()
            environment = self._environment()
            self._configure(refuse or {})
            self._process = Process(
                [self.folder / "bin/exim4", "-C", self.folder / "exim.conf", "-bdf", "-odi"],
                ports=[self.port],
                log=self.folder / "output",
                env=environment,
            )
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def messages(self, count: int) -> list[bytes]:
        """What was delivered, as soon as it is ``count`` messages or more."""
        inbox = self.folder / "mail/new"

        files = self.arrived(inbox, count, f"in Exim's maildir (see {self.folder}/log)")
        return [file.read_bytes() for file in files]

    def _make_certificate(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        issued = authority.issue_cert("localhost", "127.0.0.1", self.hostname)
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.folder / "server.pem"))
        shutil.chown(self.folder / "server.pem", "nobody")

    def _make_folders(self) -> None:
        nobody = pwd.getpwnam("nobody")
        for name in ("spool", "log", "mail"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, nobody.pw_uid, nobody.pw_gid)

    def _environment(self) -> dict[str, str]:
        """Copies of the program and its libraries where every account can read them, and an account for it."""
        binaries = self.folder / "bin"
        binaries.mkdir()
        program, libraries = unpacked()
        shutil.copyfile(program, binaries / "exim4")  # without the unpacked one's setuid bit
        (binaries / "exim4").chmod(0o755)
        search = {"LD_LIBRARY_PATH": str(libraries)}
        needed = subprocess.run(["ldd", program], env=search, check=True, capture_output=True)
        found = re.findall(rf"{libraries}/\S+", needed.stdout.decode())
        for library in [*found, str(libraries / WRAPPER)]:
            shutil.copy(library, binaries)
        accounts, groups = self.folder / "passwd", self.folder / "group"
        nobody = pwd.getpwnam("nobody")
        ids = f"x:{nobody.pw_uid}:{nobody.pw_gid}"
        accounts.write_text(f"root:x:0:0::/:/bin/sh\n{self._account}:{ids}::/:/bin/false\n")
        groups.write_text(f"root:x:0:\n{self._account}:x:{nobody.pw_gid}:\n")
        return {
            "LD_LIBRARY_PATH": str(binaries),
            "LD_PRELOAD": str(binaries / WRAPPER),
            "NSS_WRAPPER_PASSWD": str(accounts),
            "NSS_WRAPPER_GROUP": str(groups),
        }

    def _configure(self, refuse: Mapping[str, str]) -> None:
        refusals = [_REFUSAL.format(address=to, reply=reply) for to, reply in refuse.items()]
        path = self.folder / "exim.conf"
        path.write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                hostname=self.hostname,
                port=self.port,
                username=self.username,
                password=self.password,
                account=self._account,
                refusals="".join(refusals),
            )
        )
        path.chmod(0o644)


def unpacked() -> tuple[Path, Path]:
    """The unpacked program, and the folder with its libraries.

    :raises FileNotFoundError: it is not here.
    """
    wrapper = shutil.which("exim4")
    if wrapper is None:
        raise FileNotFoundError("exim4")
    root = Path(wrapper).resolve().parents[1] / "root"
    (library,) = root.glob(f"usr/lib/*/{WRAPPER}")
    return root / "usr/sbin/exim4", library.parent
