"""A RabbitMQ of one's own: private node name, ports, cookie, epmd and data, for tests that kill it.

``RabbitMQServer`` runs the system's ``rabbitmq-server`` and listens on loopback only. ``RabbitMQContainer`` runs an
image with Docker. Both say ``url`` and are stopped for good by ``close``, which also removes what they left behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from uuid import uuid4

SCRIPTS = Path(os.environ.get("FNRUNNER_TEST_RABBITMQ_HOME", "/usr/lib/rabbitmq")) / "bin"
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0


class ServerFailed(Exception):
    """The server did not start or stop in time; the message has the end of its output."""


def available() -> bool:
    """RabbitMQ is installed on this system."""
    return (SCRIPTS / "rabbitmq-server").exists() and shutil.which("erl") is not None


def free_port() -> int:
    """A port that nothing listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Something listens on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


def listens(port: int) -> bool:
    """A server accepts connections and greets with AMQP: the port alone opens a moment earlier."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
            probe.settimeout(5)
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            return probe.recv(1) == b"\x01"
    except OSError:
        return False


class RabbitMQServer:
    """One node in ``directory``. Starting again after ``kill`` or ``stop`` keeps the ports and the data."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.node = f"fnrunner-{uuid4().hex[:12]}@localhost"
        self._epmd_port = free_port()
        self._distribution_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def __enter__(self) -> RabbitMQServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Returns when it takes connections. Raises ServerFailed."""
        for part in ("data", "log"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        (self.directory / "enabled_plugins").write_text("[].\n")
        deadline = time.monotonic() + START_TIMEOUT_S
        self._start_epmd()
        self._launch()
        while not listens(self.port):
            if time.monotonic() > deadline:
                said = (self.directory / "output").read_text(errors="replace")[-4000:]
                self.close()
                raise ServerFailed(said)
            if self._process is None or self._process.poll() is not None:
                # epmd holds the name of a killed node for a moment.
                time.sleep(0.5)
                self._launch()
            time.sleep(0.05)

    def _start_epmd(self) -> None:
        """In the foreground: the one that a node starts by itself would outlive it."""
        if self._epmd is None:
            command = ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)]
            self._epmd = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while not accepts(self._epmd_port):
                time.sleep(0.01)

    def _launch(self) -> None:
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [SCRIPTS / "rabbitmq-server"],
                env=self._environment(),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def kill(self) -> None:
        """``kill -9`` of the Erlang machine and of the script that started it."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """Stop in an orderly way; ``start`` brings it back with its data."""
        self._signal(signal.SIGTERM)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop for good: the node, its epmd and its files."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(STOP_TIMEOUT_S)
            self._epmd = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def control(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` prints. Raises CalledProcessError."""
        command = [str(SCRIPTS / "rabbitmqctl"), "--quiet", *arguments]
        return subprocess.run(
            command, env=self._environment(), capture_output=True, check=True, text=True, timeout=60
        ).stdout

    def evaluate(self, code: str) -> str:
        """What the node answers to Erlang expressions, which end in a full stop. Raises ServerFailed.

        ``erl_call`` takes milliseconds, where ``rabbitmqctl eval`` starts an Erlang machine of its own for seconds.
        """
        if shutil.which("erl_call") is None:
            return self.control("eval", code)
        cookie = (self.directory / ".erlang.cookie").read_text()
        answer = subprocess.run(
            ["erl_call", "-sname", self.node, "-c", cookie, "-e"],
            input=f"{code}\n", env=self._environment(), capture_output=True, check=False, text=True, timeout=60,
        )  # fmt: skip
        if not answer.stdout.startswith("{ok"):
            raise ServerFailed(f"{code}: {answer.stdout}{answer.stderr}")
        return answer.stdout

    def make_vhost(self) -> str:
        """The URL of a new virtual host: a broker of one's own, as far as names go."""
        name = f"vhost-{uuid4().hex[:8]}"
        self.evaluate(f"{_new_vhost(name)}.")
        return f"{self.url.rstrip('/')}/{name}"

    def raise_memory_alarm(self) -> None:
        """From now on it takes no messages."""
        self._set_memory_limit("0.00001")

    def clear_memory_alarm(self) -> None:
        self._set_memory_limit("0.6")

    def _set_memory_limit(self, share: str) -> None:
        self.evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({share}).")

    def close_connections(self) -> None:
        """As an operator does, with a reason: clients hear of it."""
        self.evaluate('[rabbit_networking:close_connection(C, "test") || C <- rabbit_networking:connections()].')

    def delete_queue(self, name: str) -> None:
        """Of the default virtual host, as an operator does: its consumers are told."""
        resource = f'rabbit_misc:r(<<"/">>, queue, <<"{name}">>)'
        self.evaluate(
            f'{{ok, Q}} = rabbit_amqqueue:lookup({resource}), rabbit_amqqueue:delete(Q, false, false, <<"test">>).'
        )

    def renew(self) -> None:
        """Running, without an alarm, with nothing in its default virtual host. Raises ServerFailed."""
        if not listens(self.port):
            self.kill()
            self.start()
        self.clear_memory_alarm()
        self.close_connections()
        self.evaluate(f'rabbit_vhost:delete(<<"/">>, <<"test">>), {_new_vhost("/")}.')

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        # SIGTERM goes to the script, which stops the node; SIGKILL must reach the node itself: the whole session.
        if number is signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.directory),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "data"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }


def _new_vhost(name: str) -> str:
    """Erlang that makes it, for guest."""
    created = f'rabbit_vhost:add(<<"{name}">>, <<"test">>)'
    everything = ", ".join(['<<".*">>'] * 3)
    grant = "rabbit_auth_backend_internal:set_permissions"
    return f'{created}, {grant}(<<"guest">>, <<"{name}">>, {everything}, <<"test">>)'


class RabbitMQContainer:
    """One container of ``image``, its AMQP port published on loopback."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.name = f"fnrunner-test-{uuid4().hex[:12]}"
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @staticmethod
    def available(image: str) -> bool:
        """Docker answers and has the image already; nothing is downloaded."""
        if shutil.which("docker") is None:
            return False
        look = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False, timeout=60)
        return look.returncode == 0

    def start(self) -> None:
        publish = f"127.0.0.1:{self.port}:5672"
        subprocess.run(
            ["docker", "run", "--detach", "--rm", "--name", self.name, "--publish", publish, self.image],
            capture_output=True, check=True, timeout=120,
        )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listens(self.port):
            if time.monotonic() > deadline:
                logs = subprocess.run(["docker", "logs", self.name], capture_output=True, check=False, text=True)
                self.close()
                raise ServerFailed(logs.stdout[-4000:] + logs.stderr[-1000:])
            time.sleep(0.2)

    def close(self) -> None:
        subprocess.run(["docker", "rm", "--force", self.name], capture_output=True, check=False, timeout=60)
