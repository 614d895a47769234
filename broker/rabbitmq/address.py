"""Where the brokers are: one URL with one or several hosts.

>>> where = parse("amqp://user:secret@one:5672,two/site?heartbeat=5")
>>> [str(u) for u in where.urls]
['amqp://user:secret@one:5672/site?heartbeat=5', 'amqp://user:secret@two/site?heartbeat=5']
>>> where
amqp://user@one:5672,two/site
"""

from __future__ import annotations

from dataclasses import dataclass

from yarl import URL

HEARTBEAT_S = 10


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """``urls`` has one complete URL for each host. Its text never shows the password."""

    urls: tuple[URL, ...]
    hosts: str

    @property
    def cluster(self) -> bool:
        """Several hosts are named: what must survive the loss of one of them is kept on more than one."""
        return len(self.urls) > 1

    def __repr__(self) -> str:
        first = self.urls[0]
        user = f"{first.user}@" if first.user else ""
        return f"{first.scheme}://{user}{self.hosts}{first.raw_path if first.raw_path != '/' else ''}"

    def named(self, name: str) -> Address:
        """The same brokers; the connection is called ``name`` in the broker's lists."""
        return Address(tuple(_with_defaults(url, name) for url in self.urls), self.hosts)


def _with_defaults(url: URL, name: str) -> URL:
    query = {"heartbeat": str(HEARTBEAT_S), "name": name}
    return url.with_query({**query, **url.query})


def parse(url: str) -> Address:
    """Raises ValueError for what is not an ``amqp`` or ``amqps`` URL."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("amqp", "amqps"):
        raise ValueError("the broker URL must start with amqp:// or amqps://")
    cut = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
    authority, path = rest[:cut], rest[cut:]
    user, at, hosts = authority.rpartition("@")
    if not all(host.strip() for host in hosts.split(",")):
        raise ValueError("the broker URL names no host")
    urls = tuple(URL(f"{scheme}://{user}{at}{host.strip()}{path}") for host in hosts.split(","))
    return Address(urls, hosts)
