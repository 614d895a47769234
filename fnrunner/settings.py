"""The one reader of the environment: validated at once, every mistake reported, passed down.

>>> Settings.read({"FNRUNNER_RETRY_DELAYS_S": "0.5,1"}).retry_delays
(datetime.timedelta(microseconds=500000), datetime.timedelta(seconds=1))
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from fnrunner.model import limits
from fnrunner.model.arn import Home


class SettingsError(ValueError):
    """Some settings are wrong. Each line names one and says what it takes."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def default_capacity() -> int:
    """How many environments a worker runs at once when nobody says: eight a core, at least 16."""
    return max(16, 8 * (os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class Settings:
    """``broker_url`` ``embedded:`` or ``amqp(s)://``; ``store_url`` an SQLAlchemy URL; ``artifacts_url`` ``file:///``.

    ``retry_delays`` are the waits before the first, second, … retry of a function error: their count is not a limit,
    the last one repeats. ``sync_wait`` is how long a synchronous call of an uncapped function may wait for room.
    ``health_port`` is where a worker or a sources process answers /readyz. ``idle_timeout`` is how long an unused
    environment is kept. ``network`` is whose network functions have; ``network_allow`` are hosts with a TCP port that they
    may reach although they are denied, ``network_deny`` networks that they are denied besides. ``cpu_limit``: a function has
    no more of the processor than its memory entitles it to.
    ``freeze``: nothing in an environment runs between invocations.
    ``most_age`` is how old an environment becomes at most, between invocations. ``stand_in``: where a runtime's own
    interpreter is missing, the nearest version of the language runs its functions.
    ``connect_timeout`` is how long one try to reach RabbitMQ may take at the start.
    ``history``: how long logs and finished events are kept. ``aws_endpoints`` are URLs of AWS-compatible services by name,
    where ARNs of other accounts live; ``brokers`` are URLs of other RabbitMQ brokers by the name that an ARN has.
    ``auth``: ``off`` where nobody has to sign, ``open`` the same also where the store has users, ``iam``.
    ``credentials_file`` holds the access keys of those who may call function URLs with AWS_IAM, unless ``auth`` is
    ``iam``: then users and roles are in the store, and their secrets encrypted by way of the key in ``master_key_file``.
    ``give_up`` is how long a worker or a sources process may be unable to work before it ends with status 75. ``lag`` is the
    age of a stream's records from which on their mapping is reported as lagging.
    ``account_concurrency`` is how much may run at once of all functions together, over all workers; ``scaling_rate`` how
    many environments a function may get in each 10 s, over all workers. Both are the same in every process.
    """

    data_dir: Path
    broker_url: str = field(default="embedded:", repr=False)
    store_url: str = field(default="", repr=False)
    artifacts_url: str = ""
    host: str = "127.0.0.1"
    port: int = 9000
    home: Home = field(default_factory=Home)
    auth: str = "off"
    retry_delays: tuple[timedelta, ...] = (timedelta(seconds=60), timedelta(seconds=120))
    backoff_first: timedelta = timedelta(seconds=1)
    worker_capacity: int = field(default_factory=default_capacity)
    zone: str = ""
    sandbox: str = "auto"
    network: str = "auto"
    network_allow: tuple[tuple[str, int], ...] = ()
    network_deny: tuple[ipaddress.IPv4Network, ...] = ()
    mounts: tuple[str, ...] = ()
    cpu_limit: bool = False
    buckets: Mapping[str, str] = field(default_factory=dict)
    sync_wait: timedelta = timedelta(seconds=10)
    idle_timeout: timedelta = timedelta(minutes=5)
    drain_timeout: timedelta = timedelta(seconds=60)
    history: timedelta = timedelta(days=7)
    otlp_endpoint: str = ""
    trust_network: bool = False
    health_port: int | None = None
    connect_timeout: timedelta = timedelta(seconds=30)
    freeze: bool = True
    most_age: timedelta = timedelta(hours=4)
    stand_in: bool = False
    aws_endpoints: Mapping[str, str] = field(default_factory=dict, repr=False)
    brokers: Mapping[str, str] = field(default_factory=dict, repr=False)
    credentials_file: Path | None = None
    master_key_file: Path | None = None
    give_up: timedelta = timedelta(minutes=5)
    lag: timedelta = timedelta(minutes=1)
    account_concurrency: int = limits.ACCOUNT_CONCURRENCY
    scaling_rate: int = limits.SCALING_RATE

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Raises SettingsError with every mistake, not only the first. Unknown ``FNRUNNER_`` names are mistakes."""
        problems: list[str] = []
        values: dict[str, Any] = {}
        for name, (target, convert, takes) in _READERS.items():
            if (text := environ.get(name, "")) != "":
                try:
                    values[target] = convert(text)
                except ValueError as error:
                    shown = "" if name in _SECRET else f"{text!r} "
                    problems.append(f"{name}: {shown}is not {takes}" + (f" ({error})" if str(error) else ""))
        known = set(_READERS) | _ELSEWHERE
        problems += [
            f"{name}: no such setting; see the README's table of settings"
            for name in environ
            if name.startswith("FNRUNNER_") and name not in known and not name.startswith("FNRUNNER_TEST_")
        ]
        home = Home(values.pop("region", "us-east-1"), values.pop("account", "000000000000"))
        values.setdefault("data_dir", Path(".fnrunner").absolute())
        settings = cls(**values, home=home)
        problems += _contradictions(settings)
        if problems:
            raise SettingsError(problems)
        return settings

    @property
    def store(self) -> str:
        """The SQLAlchemy URL of the store, by default a SQLite file in the data directory."""
        return self.store_url or f"sqlite:///{self.data_dir / 'store.sqlite'}"

    @property
    def virtual_hosts(self) -> Mapping[str, str]:
        """Of every broker that an ARN of Amazon MQ can name, the own one included."""
        return {name: virtual_host(url) for name, url in {OWN_BROKER: self.broker_url, **self.brokers}.items()}

    @property
    def artifacts(self) -> Path:
        """The directory of artifacts."""
        return Path(urlsplit(self.artifacts_url).path) if self.artifacts_url else self.data_dir / "artifacts"

    @property
    def credentials(self) -> Path:
        """The file of access keys, which need not exist."""
        return self.credentials_file or self.data_dir / "credentials"

    @property
    def master_key(self) -> Path:
        """The file of the master key; without one that is named, this host has one of its own."""
        return self.master_key_file or self.data_dir / "master.key"


_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def virtual_host(url: str) -> str:
    """The virtual host that a broker's URL leads to.

    >>> [virtual_host(url) for url in ("embedded:", "amqp://h", "amqp://h,i:1/", "amqp://u:p@h/shop%2Fone?x=1")]
    ['/', '/', '/', 'shop/one']
    """
    _, _, rest = url.partition("://")
    return unquote(rest.partition("/")[2].partition("?")[0]) or "/"


def _seconds(text: str) -> timedelta:
    value = float(text)
    if not 0 <= value <= 86_400 * 365:
        raise ValueError("out of range")
    return timedelta(seconds=value)


def _delays(text: str) -> tuple[timedelta, ...]:
    if not (delays := tuple(_seconds(part) for part in text.split(","))):
        raise ValueError
    return delays


def _whole(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not low <= (value := int(text)) <= high:
            raise ValueError("out of range")
        return value

    return convert


def _one_of(*choices: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return convert


def _matching(pattern: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return convert


def _directories(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for directory in found:
        if not Path(directory).is_absolute() or not Path(directory).is_dir():
            raise ValueError(f"{directory} is no absolute path of a directory")
    return found


def _artifacts(text: str) -> str:
    if text.startswith("s3://"):
        raise ValueError("artifacts in S3 are not supported yet: use file:///")
    return _matching(r"file:///.+")(text)


def parse_buckets(text: str) -> dict[str, str]:
    """``name=dir,…`` as a mapping of names to absolute directories. Raises ValueError.

    >>> parse_buckets("photos=/srv/photos")
    {'photos': '/srv/photos'}
    """
    pairs = dict(part.split("=", 1) for part in text.split(",") if part.strip())
    for name, directory in pairs.items():
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
            raise ValueError(f"{name!r} is no bucket name: 3 to 63 of a-z 0-9 . -")
        if not directory:
            raise ValueError(f"bucket {name} has no directory")
    return {name: str(Path(directory).absolute()) for name, directory in pairs.items()}


def parse_endpoints(text: str) -> dict[str, str]:
    """``sqs=http://…,…`` as a mapping of services to URLs. Raises ValueError.

    >>> parse_endpoints("sqs=http://localhost:4566,kinesis=https://kinesis.test/")
    {'sqs': 'http://localhost:4566', 'kinesis': 'https://kinesis.test'}
    """
    found: dict[str, str] = {}
    for service, url in _named(text, r"https?://"):
        if service not in AWS_SERVICES:
            raise ValueError(f"{service} is none of {', '.join(AWS_SERVICES)}")
        parts = urlsplit(url)
        if not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(f"the URL of {service} has the form http://HOST:PORT, without user, password and query")
        found[service] = url.rstrip("/")
    return found


def parse_brokers(text: str) -> dict[str, str]:
    """``name=amqp://…,…`` as a mapping of names to URLs, each of which may name several hosts. Raises ValueError.

    >>> parse_brokers("orders=amqp://one,two:5673/shop,legacy=amqps://three")
    {'orders': 'amqp://one,two:5673/shop', 'legacy': 'amqps://three'}
    """
    found = dict(_named(text, r"amqps?://"))
    for name, url in found.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", name):
            raise ValueError(f"{name!r} is no broker name: 1 to 50 of a-z A-Z 0-9 - _")
        if name == OWN_BROKER:
            raise ValueError(f"{OWN_BROKER} is the name of the own broker, which FNRUNNER_BROKER_URL names")
        hosts = re.split(r"[/?]", url.partition("://")[2])[0].rpartition("@")[2]
        if not all(_HOST.fullmatch(host.strip()) for host in hosts.split(",")):
            raise ValueError(f"the URL of {name} has something else than hosts where they belong")
    return found


def parse_allowed(text: str) -> tuple[tuple[str, int], ...]:
    """``host:port,…``, each a name or an IPv4 address with a TCP port. Raises ValueError.

    >>> parse_allowed("db.test:5432, 10.0.0.1:80")
    (('db.test', 5432), ('10.0.0.1', 80))
    """
    found = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        host, _, port = part.rpartition(":")
        if not re.fullmatch(r"[A-Za-z0-9._-]+", host) or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError(f"{part} is not a name or an IPv4 address with a port")
        found.append((host, int(port)))
    return tuple(found)


def parse_networks(text: str) -> tuple[ipaddress.IPv4Network, ...]:
    """``network,…``. Raises ValueError.

    >>> [str(network) for network in parse_networks("10.0.0.0/8, 192.168.1.7")]
    ['10.0.0.0/8', '192.168.1.7/32']
    """
    if ":" in text:
        raise ValueError("functions have no IPv6 in a network of their own: there is nothing to deny")
    return tuple(ipaddress.IPv4Network(part.strip()) for part in text.split(",") if part.strip())


def _named(text: str, scheme: str) -> list[tuple[str, str]]:
    """``name=URL`` pairs; a comma ends one only where another begins. No URL is in an error: it may hold a password."""
    pairs = []
    for number, part in enumerate(re.split(rf",\s*(?=[^,=/]+={scheme})", text.strip().rstrip(",")), 1):
        name, _, url = part.strip().partition("=")
        if not name or not re.match(rf"{scheme}[^\s]+\Z", url):
            raise ValueError(f"entry {number} is not name=URL")
        pairs.append((name, url))
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name is there twice")
    return pairs


AWS_SERVICES = ("sqs", "kinesis", "dynamodb")
"""Those whose ARNs of other accounts can be read through an endpoint."""
EMBEDDED = "embedded:"
"""The URL of the broker that a process has for itself."""
OWN_BROKER = "fnrunner"
"""The own broker's name in ARNs of Amazon MQ."""

_DURATION = "a number of seconds"
_READERS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "FNRUNNER_DATA_DIR": ("data_dir", lambda text: Path(text).absolute(), "a directory"),
    "FNRUNNER_BROKER_URL": ("broker_url", _matching(r"embedded:|amqps?://.+"), "embedded:, amqp://… or amqps://…"),
    "FNRUNNER_STORE_URL": (
        "store_url",
        _matching(r"(sqlite:///|postgresql(\+psycopg)?://).+"),
        "sqlite:///… or postgresql://…",
    ),
    "FNRUNNER_ARTIFACTS_URL": ("artifacts_url", _artifacts, "file:///…"),
    "FNRUNNER_HOST": ("host", _matching(r"[A-Za-z0-9.:_-]+"), "a host name or address"),
    "FNRUNNER_PORT": ("port", _whole(0, 65_535), "a port, 0 to 65535"),
    "FNRUNNER_REGION": ("region", _matching(r"[a-z]{2}(-[a-z]+)+-\d"), "a region such as us-east-1"),
    "FNRUNNER_ACCOUNT_ID": ("account", _matching(r"\d{12}"), "twelve digits"),
    "FNRUNNER_AUTH": ("auth", _one_of("off", "iam", "open"), "off, iam or open"),
    "FNRUNNER_RETRY_DELAYS_S": ("retry_delays", _delays, "seconds separated by commas, such as 60,120"),
    "FNRUNNER_BACKOFF_FIRST_S": ("backoff_first", _seconds, _DURATION),
    "FNRUNNER_WORKER_CAPACITY": ("worker_capacity", _whole(1, 10_000), "a whole number from 1 to 10000"),
    "FNRUNNER_ZONE": ("zone", _matching(r"[A-Za-z0-9._-]{1,64}"), "a label of letters, digits, . _ -"),
    "FNRUNNER_SANDBOX": ("sandbox", _one_of("auto", "namespace", "process"), "auto, namespace or process"),
    "FNRUNNER_NETWORK": ("network", _one_of("auto", "private", "host", "none"), "auto, private, host or none"),
    "FNRUNNER_NETWORK_ALLOW": ("network_allow", parse_allowed, "host:port,…"),
    "FNRUNNER_NETWORK_DENY": ("network_deny", parse_networks, "address or network,…, such as 10.0.0.0/8"),
    "FNRUNNER_MOUNTS": ("mounts", _directories, "dir,…, each absolute and existing"),
    "FNRUNNER_CPU_LIMIT": ("cpu_limit", lambda text: _one_of("on", "off")(text) == "on", "on or off"),
    "FNRUNNER_FREEZE": ("freeze", lambda text: _one_of("on", "off")(text) == "on", "on or off"),
    "FNRUNNER_BUCKETS": ("buckets", parse_buckets, "name=dir,…"),
    "FNRUNNER_AWS_ENDPOINTS": ("aws_endpoints", parse_endpoints, "sqs=http://…,kinesis=…,dynamodb=…"),
    "FNRUNNER_BROKERS": ("brokers", parse_brokers, "name=amqp://…,…"),
    "FNRUNNER_SYNC_WAIT_S": ("sync_wait", _seconds, _DURATION),
    "FNRUNNER_IDLE_TIMEOUT_S": ("idle_timeout", _seconds, _DURATION),
    "FNRUNNER_MAX_AGE_S": ("most_age", _seconds, _DURATION),
    "FNRUNNER_STAND_IN": ("stand_in", lambda text: _one_of("on", "off")(text) == "on", "on or off"),
    "FNRUNNER_DRAIN_TIMEOUT_S": ("drain_timeout", _seconds, _DURATION),
    "FNRUNNER_HISTORY_S": ("history", _seconds, _DURATION),
    "FNRUNNER_CONNECT_TIMEOUT_S": ("connect_timeout", _seconds, _DURATION),
    "FNRUNNER_HEALTH_PORT": ("health_port", _whole(0, 65_535), "a port, 0 to 65535"),
    "FNRUNNER_TRUST_NETWORK": ("trust_network", lambda text: _one_of("0", "1")(text) == "1", "0 or 1"),
    "FNRUNNER_CREDENTIALS_FILE": ("credentials_file", lambda text: Path(text).absolute(), "a file"),
    "FNRUNNER_MASTER_KEY_FILE": ("master_key_file", lambda text: Path(text).absolute(), "a file"),
    "FNRUNNER_GIVE_UP_S": ("give_up", _seconds, _DURATION),
    "FNRUNNER_LAG_S": ("lag", _seconds, _DURATION),
    "FNRUNNER_ACCOUNT_CONCURRENCY": (
        "account_concurrency",
        _whole(limits.UNRESERVED_MINIMUM, limits.MOST_ACCOUNT_CONCURRENCY),
        "a whole number from 100 to 1000000",
    ),
    "FNRUNNER_SCALING_RATE": ("scaling_rate", _whole(1, 1_000_000), "a whole number from 1 to 1000000"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("otlp_endpoint", _matching(r"https?://.+"), "http://… or https://…"),
}
_SECRET = {"FNRUNNER_BROKER_URL", "FNRUNNER_STORE_URL", "FNRUNNER_BROKERS", "FNRUNNER_AWS_ENDPOINTS"}
_ELSEWHERE = {"FNRUNNER_ENDPOINT_URL"}


def safe(url: str) -> str:
    """The URL without the password, to be shown.

    >>> safe("amqp://guest:secret@host:5672/")
    'amqp://guest:***@host:5672/'
    """
    return re.sub(r"(://[^:/@]*:)[^@/]*@", r"\1***@", url)


def loopback(host: str) -> bool:
    """Whether the address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _contradictions(settings: Settings) -> list[str]:
    problems = []
    if settings.sandbox == "process" and settings.network in ("private", "none"):
        problems.append(
            f"FNRUNNER_NETWORK: {settings.network} needs namespaces, and FNRUNNER_SANDBOX=process has none: set it to "
            "namespace or auto, or FNRUNNER_NETWORK=host"
        )
    if settings.auth != "iam" and not loopback(settings.host) and not settings.trust_network:
        problems.append(
            f"FNRUNNER_HOST: {settings.host} can be reached from other machines, and nothing checks who calls. Listen "
            "on 127.0.0.1, or set FNRUNNER_TRUST_NETWORK=1 where the network lets only friends in (as compose.yaml does)"
        )
    if settings.broker_url != "embedded:" and not urlsplit(settings.broker_url.split(",")[0]).hostname:
        problems.append("FNRUNNER_BROKER_URL: it names no host")
    return problems
