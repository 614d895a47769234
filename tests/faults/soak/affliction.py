"""What each kind of fault does: entered it strikes, left it is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from broker import names
from tests.bench import processes
from tests.faults.proxy import FAIR, Proxy, Weather
from tests.faults.soak import broker_side
from tests.faults.soak.broker_side import Copyist
from tests.faults.soak.fault import Fault
from tests.faults.soak.system import Part, System
from tests.rabbitmq_server import RabbitMQServer

SLOW_S = 0.15
NARROW_BYTES_PER_S = 20_000
JUMPS_S = (-5400, -900, -61, 61, 900, 5400)
DOOMED = "doomed"
COPIES = 5


@dataclass(frozen=True, slots=True)
class Situation:
    """The system, and who can publish a copy of an event."""

    system: System
    copyist: Copyist | None = None


@dataclass(slots=True)
class Outcome:
    """What there is to say of a fault beside its times: see :class:`~tests.faults.soak.fault.Struck`."""

    ids: list[str] = field(default_factory=list)
    function: str = ""
    problem: str = ""


Affliction = Callable[[Situation, Fault, Outcome], AbstractContextManager[None]]


def _part(situation: Situation, fault: Fault) -> Part:
    return situation.system.parts[fault.target]


def _proxy(situation: Situation, fault: Fault) -> Proxy:
    proxy = _part(situation, fault).proxy
    assert proxy is not None
    return proxy


def _rabbitmq(situation: Situation) -> RabbitMQServer:
    assert situation.system.rabbitmq is not None
    return situation.system.rabbitmq


@contextmanager
def _kill(situation: Situation, fault: Fault, _: Outcome) -> Iterator[None]:
    part = _part(situation, fault)
    situation.system.kill(part)
    try:
        yield
    finally:
        situation.system.revive(part)


@contextmanager
def _freeze(situation: Situation, fault: Fault, _: Outcome) -> Iterator[None]:
    """The whole family halts, as on a machine that is suspended."""
    process = situation.system.installation.processes[fault.target]
    processes.pause([process])
    try:
        yield
    finally:
        processes.resume([process])


@contextmanager
def _broker_kill(situation: Situation, _fault: Fault, _: Outcome) -> Iterator[None]:
    server = _rabbitmq(situation)
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def _broker_restart(situation: Situation, _fault: Fault, _: Outcome) -> Iterator[None]:
    server = _rabbitmq(situation)
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def _memory_alarm(situation: Situation, _fault: Fault, _: Outcome) -> Iterator[None]:
    server = _rabbitmq(situation)
    broker_side.alarm_memory(server, on=True)
    try:
        yield
    finally:
        broker_side.alarm_memory(server, on=False)


@contextmanager
def _disk_alarm(situation: Situation, _fault: Fault, _: Outcome) -> Iterator[None]:
    server = _rabbitmq(situation)
    broker_side.alarm_disk(server, on=True)
    try:
        yield
    finally:
        broker_side.alarm_disk(server, on=False)


@contextmanager
def _channel_error(situation: Situation, fault: Fault, _: Outcome) -> Iterator[None]:
    broker_side.fail_channel(_rabbitmq(situation), fault.chance)
    yield


@contextmanager
def _connection_closed(situation: Situation, fault: Fault, _: Outcome) -> Iterator[None]:
    broker_side.close_connection(_rabbitmq(situation), fault.chance)
    yield


@contextmanager
def _all_connections_closed(situation: Situation, _fault: Fault, _: Outcome) -> Iterator[None]:
    broker_side.close_connections(_rabbitmq(situation))
    yield


@contextmanager
def _consumer_timeout(situation: Situation, _fault: Fault, _: Outcome) -> Iterator[None]:
    """What is held longer than a second closes its channel: every slow run does, and what waits behind a cap."""
    server = _rabbitmq(situation)
    broker_side.set_consumer_timeout(server, 1.0)
    try:
        yield
    finally:
        broker_side.set_consumer_timeout(server, None)


@contextmanager
def _queue_deleted(situation: Situation, _fault: Fault, outcome: Outcome) -> Iterator[None]:
    outcome.function = DOOMED
    broker_side.delete_queue(_rabbitmq(situation), names.events(DOOMED))
    yield


@contextmanager
def _copied(situation: Situation, _fault: Fault, outcome: Outcome) -> Iterator[None]:
    assert situation.copyist is not None
    outcome.ids += situation.copyist.copy(COPIES)
    yield


@contextmanager
def _cut(situation: Situation, fault: Fault, _: Outcome) -> Iterator[None]:
    """Every connection is reset, and none can be made for as long as it lasts."""
    proxy = _proxy(situation, fault)
    proxy.deaf(True)
    proxy.cut()
    try:
        yield
    finally:
        proxy.deaf(False)


def _under(weather: Weather, *, cut: bool) -> Affliction:
    """Bad weather on one process's way to the broker; ``cut`` where its connections are of no use afterwards."""

    @contextmanager
    def lasting(situation: Situation, fault: Fault, _: Outcome) -> Iterator[None]:
        proxy = _proxy(situation, fault)
        proxy.weather = weather
        try:
            yield
        finally:
            if cut:
                proxy.cut()
            proxy.weather = FAIR

    return lasting


@contextmanager
def _clock_jump(situation: Situation, fault: Fault, _: Outcome) -> Iterator[None]:
    part = _part(situation, fault)
    assert part.clock is not None
    part.clock.write_text(f"{JUMPS_S[int(fault.chance * len(JUMPS_S))]}\n")
    try:
        yield
    finally:
        part.clock.write_text("0\n")


@contextmanager
def _full(situation: Situation, fault: Fault, _: Outcome) -> Iterator[None]:
    mount = situation.system.mounts[fault.target]
    mount.fill()
    try:
        yield
    finally:
        mount.free()


@contextmanager
def _database_kill(situation: Situation, _fault: Fault, _: Outcome) -> Iterator[None]:
    database = situation.system.database
    assert database is not None
    database.kill()
    try:
        yield
    finally:
        database.start()


OF: Mapping[str, Affliction] = MappingProxyType(
    {
        "kill": _kill,
        "freeze": _freeze,
        "broker-kill": _broker_kill,
        "broker-restart": _broker_restart,
        "memory-alarm": _memory_alarm,
        "disk-alarm": _disk_alarm,
        "channel-error": _channel_error,
        "connection-closed": _connection_closed,
        "all-connections-closed": _all_connections_closed,
        "consumer-timeout": _consumer_timeout,
        "queue-deleted": _queue_deleted,
        "copied": _copied,
        "cut": _cut,
        "half-open": _under(Weather(silent=True), cut=True),
        "slow-network": _under(Weather(delay_s=SLOW_S), cut=False),
        "narrow-network": _under(Weather(bytes_per_s=NARROW_BYTES_PER_S), cut=False),
        "acks-lost": _under(Weather(acks=False), cut=True),
        "clock-jump": _clock_jump,
        "store-full": _full,
        "logs-full": _full,
        "database-kill": _database_kill,
    }
)
