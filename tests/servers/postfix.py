"""A Postfix of the test's own: STARTTLS and implicit TLS, AUTH, PIPELINING, SMTPUTF8, and a maildir to read.

It shares the program files with the system's Postfix and nothing else: configuration, queue, data, password
file, log and maildir are in a folder under /tmp, and nothing it accepts can leave that folder.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import trustme

from .housed import Housed
from .process import Process, free_port

_QUEUES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush"),
    *("hold", "incoming", "private", "saved", "trace"),
)

# service type private unpriv chroot wakeup maxproc command; never a chroot: the libraries stay where they are.
_SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{tls_port} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_tls_security_level=
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

_PASSWORDS = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {folder}/conf/sasl/passwords
mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256
"""


class Postfix(Housed):
    """A running Postfix; every recipient of every domain is delivered to one maildir.

    :param refuse: recipients it does not take, each with the reply: ``{"gone@example.org": "550 5.1.1 Gone"}``.
    :param message_size_limit: bytes, announced with SIZE.
    :param settings: further lines of main.cf.
    """

    username: ClassVar[str] = "me"
    password: ClassVar[str] = "secret word"
    hostname: ClassVar[str] = "mail.example.org"

    def __init__(
        self,
        *,
        refuse: Mapping[str, str] | None = None,
        message_size_limit: int = 10_240_000,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        # Postfix's own account must be able to walk in, so pytest's private folder will not do.
        self.folder = Path(tempfile.mkdtemp(prefix="postfix-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.port, self.tls_port = free_port(), free_port()
        self.ca_file = self.folder / "ca.pem"
        self.log = self.folder / "log"
        try:
            self._make_folders()
            self._make_certificate()
            self._make_password()
            own = _main_cf(self.folder, refuse or {})
            own["message_size_limit"] = str(message_size_limit)
            self._configure({**own, **(settings or {})})
            self._process = self._start()
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def messages(self, count: int) -> list[bytes]:
        """What was delivered, oldest first, as soon as it is ``count`` messages or more."""
        inbox = self.folder / "mail/inbox/new"

        files = self.arrived(inbox, count, f"in Postfix's maildir (see {self.log})")
        files.sort(key=lambda file: file.stat().st_mtime_ns)
        return [file.read_bytes() for file in files]

    def _make_folders(self) -> None:
        postfix, nobody = pwd.getpwnam("postfix").pw_uid, pwd.getpwnam("nobody").pw_uid
        postdrop = grp.getgrnam("postdrop").gr_gid
        folders = [("queue", 0, 0, 0o755), ("queue/pid", 0, 0, 0o755), ("conf", 0, 0, 0o755)]
        folders += [(f"queue/{name}", postfix, 0, 0o700) for name in _QUEUES]
        folders += [("queue/public", postfix, postdrop, 0o710)]
        folders += [("queue/maildrop", postfix, postdrop, 0o730)]
        folders += [
            ("data", postfix, 0, 0o700),
            ("mail", nobody, 0, 0o700),
            ("conf/sasl", 0, 0, 0o755),
        ]
        for name, user, group, mode in folders:
            path = self.folder / name
            path.mkdir()
            os.chown(path, user, group)
            path.chmod(mode)

    def _make_certificate(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_file))
        issued = authority.issue_cert("localhost", "127.0.0.1", self.hostname)
        issued.private_key_and_cert_chain_pem.write_to_path(str(self.folder / "server.pem"))

    def _make_password(self) -> None:
        (self.folder / "conf/sasl/smtpd.conf").write_text(_PASSWORDS.format(folder=self.folder))
        passwords = self.folder / "conf/sasl/passwords"
        command = [
            "saslpasswd2",
            "-p",
            "-c",
            "-f",
            str(passwords),
            "-u",
            self.hostname,
            self.username,
        ]
        subprocess.run(command, input=self.password.encode(), check=True, capture_output=True)
        shutil.chown(passwords, "postfix")

    def _configure(self, settings: Mapping[str, str]) -> None:
        lines = [f"{key} = {value}\n" for key, value in settings.items()]
        services = _SERVICES.format(port=self.port, tls_port=self.tls_port)
        for name, text in {"main.cf": "".join(lines), "master.cf": services}.items():
            path = self.folder / "conf" / name
            path.write_text(text)
            # Postfix waits until a file is two seconds old: someone might be writing it still.
            os.utime(path, (0, 0))

    def _start(self) -> Process:
        configuration = self.folder / "conf"
        command = ["postconf", "-d", "-h", "daemon_directory"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        return Process(
            [Path(answer.stdout.strip()) / "master", "-c", configuration, "-d"],
            ports=[self.port, self.tls_port],
            log=self.folder / "output",
            env={"MAIL_CONFIG": str(configuration)},
        )


def _main_cf(folder: Path, refuse: Mapping[str, str]) -> dict[str, str]:
    nobody = pwd.getpwnam("nobody")
    refused = " ".join(f"{{{address} = {reply}}}" for address, reply in refuse.items())
    checks = f"check_recipient_access inline:{{{refused}}}, " if refuse else ""
    return {
        "compatibility_level": "3.6",
        "queue_directory": f"{folder}/queue",
        "data_directory": f"{folder}/data",
        "maillog_file": f"{folder}/log",
        "maillog_file_prefixes": str(folder),
        "myhostname": Postfix.hostname,
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        # Whatever it is called, it is this server's; nothing is relayed and nothing looks up a name.
        "mydestination": "",
        "mynetworks": "",
        "alias_maps": "",
        "relay_domains": "",
        "default_transport": "error:nothing leaves this server",
        "virtual_mailbox_domains": "static:all",
        "virtual_mailbox_maps": "static:inbox/",
        "virtual_mailbox_base": f"{folder}/mail",
        "virtual_uid_maps": f"static:{nobody.pw_uid}",
        "virtual_gid_maps": f"static:{nobody.pw_gid}",
        "smtputf8_enable": "yes",
        "smtpd_peername_lookup": "no",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": f"{folder}/server.pem",
        "smtpd_tls_auth_only": "yes",
        "smtpd_tls_received_header": "yes",
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "cyrus",
        "smtpd_sasl_local_domain": Postfix.hostname,
        # Debian looks for smtpd.conf in conf/sasl whatever this says; elsewhere this decides.
        "cyrus_sasl_config_path": f"{folder}/conf/sasl",
        "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
        "smtpd_recipient_restrictions": f"{checks}permit_sasl_authenticated, reject",
    }
