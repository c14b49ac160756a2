"""A RabbitMQ of the test run's own, with an epmd of its own: Erlang's programs find each other by it."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import amqp

from .housed import Housed
from .process import Process, free_port, wait_until

#: Debian's program of this name on the PATH would run it as another account, in its folder; this is what it calls.
_DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

#: One core is enough for a test; and it hears its own machine alone.
_ERLANG = "+S 1:1 +SDcpu 1:1 +SDio 1 -kernel inet_dist_use_interface {127,0,0,1}"

#: Above so many bytes it would keep its publishers waiting. Idle, it has 140 MB.
_MEMORY = f"-rabbit vm_memory_high_watermark {{absolute,{512 * 2**20}}}"


class RabbitMQ(Housed):
    """A running server on a port of 127.0.0.1; stopped or killed, it may be started again on the same folder.

    It keeps durable queues and the persistent messages in them.

    :param where: the folder that its own is made in.
    """

    def __init__(self, *, where: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="flask-outbox-rabbitmq-", dir=where))
        self.port, self._erlang_port, names_port = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._environment = self._everything_here(names_port)
        cookie = self.folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex())
        cookie.chmod(0o400)
        try:
            self._names = Process(
                ["epmd", "-port", str(names_port), "-address", "127.0.0.1"],
                log=self.folder / "epmd",
                ports=[names_port],
            )
            self.start()
        except BaseException:
            self.close()
            raise

    def _everything_here(self, names_port: int) -> dict[str, str]:
        """The names are RabbitMQ's and Erlang's; what is not here would be the machine's own."""
        return {
            "HOME": str(self.folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(names_port),
            "RABBITMQ_NODENAME": f"rabbit{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._erlang_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            # These three are never written: as if the file were empty.
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_ERLANG} {_MEMORY}",
            # The script becomes the server, and does not wait for it as a second process.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def start(self) -> None:
        """Start it, also after :meth:`kill` and :meth:`stop`."""
        self._process = Process(
            [_DEBIAN if _DEBIAN.exists() else "rabbitmq-server"],
            log=self.folder / "log",
            ports=[self.port],
            env=self._environment,
            cwd=self.folder,
        )
        wait_until(self._accepts, "RabbitMQ that lets its guest in")

    def _accepts(self) -> bool:
        self._process.check_alive()
        try:
            with amqp.Connection(f"127.0.0.1:{self.port}"):
                return True
        except (OSError, amqp.AMQPError):
            return False

    def kill(self) -> None:
        """Kill -9 the server."""
        self._process.kill()

    def stop(self) -> None:
        """Stop it; whoever is connected is cut off."""
        self._process.stop()

    def purge(self) -> None:
        """Forget the messages in all queues, but for those that a consumer holds; the queues stay."""
        self._evaluate("[rabbit_amqqueue:purge(Queue) || Queue <- rabbit_amqqueue:list()]")

    def clear(self) -> None:
        """Remove all queues, with their messages."""
        # One that goes with its consumer may end by itself meanwhile, and cannot be deleted then.
        self._evaluate(
            "[catch rabbit_amqqueue:delete(Queue, false, false, <<>>) || Queue <- rabbit_amqqueue:list()]"
        )
        left = "length(rabbit_amqqueue:list())"
        wait_until(lambda: self._evaluate(left).strip() == "{ok, 0}", "end of all queues")

    def _evaluate(self, expression: str) -> str:
        """Have the server evaluate an expression of Erlang: rabbitmqctl takes seconds to start."""
        done = subprocess.run(
            ["erl_call", "-address", f"localhost:{self._erlang_port}", "-e"],
            input=f"{expression}.\n",
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if not done.stdout.startswith("{ok, "):
            raise RuntimeError(f"erl_call: {done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """End it and remove its folder, whoever is connected still; a second call does nothing."""
        for process in (getattr(self, "_process", None), getattr(self, "_names", None)):
            if process is not None:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
