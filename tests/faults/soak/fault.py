"""Every kind of fault: what it strikes, for how long, what it needs of the host, and what it may excuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Kind:
    """``strikes`` is a class of targets; ``lasts_s`` the bounds of its length; ``share`` how often it comes.

    ``needs`` are abilities of the host and the system. ``reach_s`` is how long after its end it may still be why an event
    ran again; None: it never is.
    """

    name: str
    strikes: str
    lasts_s: tuple[float, float]
    needs: frozenset[str] = frozenset()
    reach_s: float | None = 15.0
    share: int = 1


def _of(*words: str) -> frozenset[str]:
    return frozenset(words)


WORKERS, PROCESSES, BROKER, STORE, LOGS, DATABASE = "workers", "processes", "broker", "store", "logs", "database"

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("kill", PROCESSES, (0.5, 3), share=4),
            Kind("freeze", PROCESSES, (1, 12), share=2),
            Kind("broker-kill", BROKER, (0.2, 2), _of("rabbitmq"), 30),
            Kind("broker-restart", BROKER, (0.2, 2), _of("rabbitmq"), 30),
            Kind("memory-alarm", BROKER, (3, 10), _of("rabbitmq"), 30),
            Kind("disk-alarm", BROKER, (3, 10), _of("rabbitmq"), 30),
            Kind("channel-error", BROKER, (0.1, 1), _of("rabbitmq")),
            Kind("connection-closed", BROKER, (0.1, 1), _of("rabbitmq")),
            Kind("all-connections-closed", BROKER, (0.1, 1), _of("rabbitmq")),
            Kind("consumer-timeout", BROKER, (8, 12), _of("rabbitmq"), 30),
            Kind("queue-deleted", BROKER, (0.1, 1), _of("rabbitmq", "doomed")),
            Kind("copied", BROKER, (0.1, 0.5), _of("rabbitmq")),
            Kind("cut", PROCESSES, (0.1, 1), _of("proxy"), share=2),
            Kind("half-open", PROCESSES, (5, 25), _of("proxy"), 30),
            Kind("slow-network", PROCESSES, (3, 8), _of("proxy"), 30),
            Kind("narrow-network", PROCESSES, (3, 8), _of("proxy"), 30),
            Kind("acks-lost", WORKERS, (0.5, 3), _of("proxy"), share=2),
            Kind("clock-jump", PROCESSES, (3, 10), _of("clock"), None),
            Kind("store-full", STORE, (2, 8), _of("root", "mounts")),
            Kind("logs-full", LOGS, (2, 8), _of("root", "mounts"), None),
            Kind("database-kill", DATABASE, (0.5, 3), _of("postgresql")),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan. ``chance`` in [0, 1) decides whatever is left to decide, such as which connection."""

    number: int
    kind: str
    target: str
    at_s: float
    lasts_s: float
    chance: float


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was carried out. ``begin`` and ``end`` are the machine's monotonic clock in seconds.

    ``ids`` are the events it names: those of which it published a copy. ``function`` is the one whose queue it deleted.
    ``problem`` says why it could not be carried out.
    """

    number: int
    kind: str
    target: str
    begin: float
    end: float
    ids: tuple[str, ...] = ()
    function: str = ""
    problem: str = ""

    def reaches(self, since: float, until: float) -> bool:
        """Whether it may be the reason of something that happened between these two."""
        reach = KINDS[self.kind].reach_s
        return reach is not None and self.begin <= until and self.end + reach >= since
