"""A RabbitMQ cluster of three nodes on this host, for tests that kill nodes and cut them off.

Each node is a :class:`~tests.rabbitmq_server.RabbitMQServer` with an epmd of its own, in which the other two are known by the
ports of relays (:mod:`tests.relay`). So everything that nodes say to each other passes through relays, and holding those of
one node cuts it off as a broken network would: no connection closes, nothing arrives. Clients are not cut off. No
privileges are needed and nothing outside the processes of the test is touched.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from tests.rabbitmq_server import STOP_TIMEOUT_S, RabbitMQServer, ServerFailed, free_port, listens

ROOT = Path(__file__).resolve().parent.parent
NODES = 3
NET_TICK_S = 10
"""After about this long without a word a node counts as down. RabbitMQ's own default is 60."""

NOTICED_WITHIN_S = 4 * NET_TICK_S
JOIN_TIMEOUT_S = 90.0
RUNNING = "rabbit_mnesia:cluster_nodes(running)."
STEADY_S = 2.0
"""A node that comes out of a partition looks joined for a moment before it pauses and begins anew."""

PLACED_WITHIN_S = 30.0


class ClusterNode(RabbitMQServer):
    """One node; ``name`` is short, ``a``, ``b`` or ``c``."""

    def __init__(self, directory: Path, name: str, cookie: str, net_tick_s: int, lines: tuple[str, ...]) -> None:
        super().__init__(directory)
        self.name = name
        self.node = f"{name}-{uuid4().hex[:8]}@localhost"
        self._cookie = cookie
        self._settings = ("cluster_partition_handling = pause_minority", f"net_ticktime = {net_tick_s}", *lines)

    @property
    def short_node(self) -> str:
        return self.node.partition("@")[0]

    @property
    def epmd_port(self) -> int:
        return self._epmd_port

    @property
    def distribution_port(self) -> int:
        return self._distribution_port

    def prepare(self, peers: list[str]) -> None:
        """Write its configuration and start its epmd."""
        self.directory.mkdir(parents=True, exist_ok=True)
        cookie = self.directory / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        discovery = [
            "cluster_formation.peer_discovery_backend = classic_config",
            *(f"cluster_formation.classic_config.nodes.{n} = {peer}" for n, peer in enumerate(peers, 1)),
        ]
        (self.directory / "rabbitmq.conf").write_text("\n".join([*self._settings, *discovery]) + "\n")
        self._start_epmd()

    def _environment(self) -> dict[str, str]:
        return {
            **super()._environment(),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
        }


class RabbitMQCluster:
    """Three nodes in ``directory``, joined; ``close`` ends everything that was started."""

    def __init__(self, directory: Path, *, net_tick_s: int = NET_TICK_S, settings: tuple[str, ...] = ()) -> None:
        cookie = uuid4().hex.upper()
        self._directory = directory
        self.nodes = [
            ClusterNode(directory / name, name, cookie, net_tick_s, settings) for name in ("a", "b", "c")[:NODES]
        ]
        self._relay: subprocess.Popen[str] | None = None
        self._path = ""
        self._cut: ClusterNode | None = None

    @property
    def url(self) -> str:
        """All nodes in one URL."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"amqp://guest:guest@{hosts}/{self._path}"

    def url_of(self, node: ClusterNode) -> str:
        return f"{node.url}{self._path}"

    def __enter__(self) -> RabbitMQCluster:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Returns when the three are one. Raises ServerFailed."""
        peers = [node.node for node in self.nodes]
        for node in self.nodes:
            node.prepare(peers)
        self._start_relay()
        with ThreadPoolExecutor(NODES) as pool:
            list(pool.map(ClusterNode.start, self.nodes))
        self.wait_joined()

    def wait_joined(self) -> None:
        """All are one again, each of them says so and goes on saying so, and all take connections. Raises ServerFailed."""
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        since: float | None = None
        while since is None or time.monotonic() - since < STEADY_S:
            joined = all(self._is_joined(node) for node in self.nodes)
            since = (since or time.monotonic()) if joined else None
            if time.monotonic() > deadline:
                seen = {node.name: self._seen_by(node, RUNNING) for node in self.nodes}
                raise ServerFailed(f"these are in one cluster, as each sees it: {seen}")
            time.sleep(0.2)

    def _is_joined(self, node: ClusterNode) -> bool:
        return (
            listens(node.port)
            and len(self._seen_by(node, RUNNING)) == NODES
            and not self._seen_by(node, "rabbit_node_monitor:partitions().")
        )

    def _start_relay(self) -> None:
        routes, registrations = [], []
        for here in self.nodes:
            for there in self.nodes:
                if here is not there:
                    port = free_port()
                    routes.append((self._route(here, there), port, there.distribution_port))
                    registrations.append((here.epmd_port, there.short_node, port))
        self._relay = subprocess.Popen(
            [sys.executable, "-m", "tests.relay", json.dumps(routes), json.dumps(registrations)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self._obeyed()

    def _obeyed(self) -> None:
        assert self._relay is not None
        assert self._relay.stdout is not None
        if self._relay.stdout.readline() != "ok\n":
            raise ServerFailed("the relay between the nodes does not answer")

    @staticmethod
    def _route(here: ClusterNode, there: ClusterNode) -> str:
        return f"{here.name}->{there.name}"

    def _order(self, *words: str) -> None:
        assert self._relay is not None
        assert self._relay.stdin is not None
        self._relay.stdin.write(" ".join(words) + "\n")
        self._relay.stdin.flush()
        self._obeyed()

    def cut_off(self, node: ClusterNode) -> None:
        """From now on nothing passes between ``node`` and the others. Clients are not cut off."""
        others = [other for other in self.nodes if other is not node]
        self._cut = node
        self._order("hold", *(self._route(*pair) for other in others for pair in ((node, other), (other, node))))

    def heal(self) -> None:
        """Once both sides have noticed: RabbitMQ 3 does not repair a partition of which only one side knows."""
        node, self._cut = self._cut, None
        try:
            if node is not None:
                self._wait_noticed(node)
        finally:
            self._order("pass")

    def _wait_noticed(self, node: ClusterNode) -> None:
        """Raises ServerFailed."""
        deadline = time.monotonic() + NOTICED_WITHIN_S
        others = [other for other in self.nodes if other is not node]
        while listens(node.port) or any(node.node in self._seen_by(other, "nodes().") for other in others):
            if time.monotonic() > deadline:
                raise ServerFailed(f"{node.node} was cut off and somebody did not notice")
            time.sleep(0.1)

    @contextmanager
    def partition(self, node: ClusterNode) -> Iterator[None]:
        """``node`` is cut off inside, and heals whatever happens."""
        self.cut_off(node)
        try:
            yield
        finally:
            self.heal()

    def make_vhost(self) -> str:
        """The URL, with all nodes, of a new virtual host; ``url``, ``leader`` and ``members`` mean it from now on."""
        self._path = self.nodes[0].make_vhost().rpartition("/")[2]
        return self.url

    @property
    def vhost(self) -> str:
        return self._path or "/"

    def leader(self, queue: str) -> ClusterNode:
        """Where the leader of a quorum queue or a stream is, as a living node sees it."""
        return self._placed(queue)[0]

    def follower(self, queue: str) -> ClusterNode:
        """A node that has a member of the queue and not its leader."""
        leader, *members = self._placed(queue)
        return next(node for node in members if node is not leader)

    def members(self, queue: str) -> list[ClusterNode]:
        """Where the queue has members."""
        return self._placed(queue)[1:]

    def _placed(self, queue: str) -> list[ClusterNode]:
        """The leader's node, and then that of each member. Raises ServerFailed.

        Asked of the node itself: the listing of ``rabbitmqctl`` wants every node to reach the tool, which is not in the
        nodes' epmd.
        """
        resource = f'rabbit_misc:r(<<"{self.vhost}">>, queue, <<"{queue}">>)'
        order = (
            f"{{ok, Q}} = rabbit_amqqueue:lookup({resource}), "
            "[{leader, L}, {members, M}] = rabbit_amqqueue:info(Q, [leader, members]), [L | M]."
        )
        deadline = time.monotonic() + PLACED_WITHIN_S
        while not (told := self._asked(order)):
            if time.monotonic() > deadline:
                raise ServerFailed(f"no node knows the queue {queue}")
            time.sleep(0.5)
        return [next(each for each in self.nodes if each.node == name) for name in told]

    def _asked(self, order: str) -> list[str]:
        """The nodes named in the answer of the first node that gives one."""
        return next((found for node in self.nodes if (found := self._seen_by(node, order))), [])

    @staticmethod
    def _seen_by(node: ClusterNode, order: str) -> list[str]:
        """The nodes named in the answer of ``node``; none where it gives no answer."""
        with contextlib.suppress(ServerFailed, subprocess.SubprocessError, OSError):
            return re.findall(r"[abc]-[0-9a-f]{8}@localhost", node.evaluate(order))
        return []

    def close(self) -> None:
        """Stop everything for good and remove the files."""
        for node in self.nodes:
            node.close()
        if self._relay is not None:
            self._relay.kill()
            self._relay.communicate(timeout=STOP_TIMEOUT_S)
            self._relay = None
