"""A TCP proxy on loopback whose connections a test can cut, halve, slow down, and rob of acknowledgements."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass

from tests.faults.acks import Acks
from tests.rabbitmq_server import free_port

CHUNK_BYTES = 65_536
PIECE_S = 0.05


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to bytes on their way. ``silent``: they vanish, and the connections stay open. ``delay_s`` is the wait
    of each chunk, ``bytes_per_s`` the most that pass in one direction of one connection (0: no limit). ``acks`` off:
    acknowledgements of the client vanish, which needs a proxy for AMQP.
    """

    silent: bool = False
    delay_s: float = 0.0
    bytes_per_s: int = 0
    acks: bool = True


FAIR = Weather()


class Proxy:
    """Forwards ``port`` to ``target`` until ``close``. ``cut`` resets every connection there is; ``deaf`` refuses new ones.

    ``weather`` is how it forwards from now on. After it was silent the connections are broken: ``cut`` them.
    """

    def __init__(self, target: int, *, amqp: bool = False) -> None:
        self.port = free_port()
        self.weather = FAIR
        self._target = target
        self._amqp = amqp
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._deaf = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> int:
        """Reset all connections; how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    @property
    def connections(self) -> int:
        """How many there are now."""
        with self._lock:
            return len(self._pairs)

    def deaf(self, deaf: bool) -> None:
        self._deaf = deaf

    def close(self) -> None:
        self.weather = FAIR
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(timeout=5)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._deaf:
                    raise OSError
                far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._pairs.append((near, far))
            acks = Acks() if self._amqp else None
            for source, sink, filtered in ((near, far, acks), (far, near, None)):
                threading.Thread(target=self._pump, args=(source, sink, filtered), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, acks: Acks | None) -> None:
        try:
            while data := source.recv(CHUNK_BYTES):
                weather = self.weather
                if weather.silent:
                    continue
                if acks is not None:
                    data = acks.through(data, keep=weather.acks)
                if weather is FAIR:
                    sink.sendall(data)
                else:
                    self._send_slowly(sink, data, weather)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    @staticmethod
    def _send_slowly(sink: socket.socket, data: bytes, weather: Weather) -> None:
        time.sleep(weather.delay_s)
        piece = max(1, int(weather.bytes_per_s * PIECE_S)) if weather.bytes_per_s else len(data)
        for start in range(0, len(data), max(1, piece)):
            sink.sendall(data[start : start + piece])
            if weather.bytes_per_s:
                time.sleep(PIECE_S)
