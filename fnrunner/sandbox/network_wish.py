"""What the settings want of functions' network. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, unquote

from fnrunner.sandbox.destination import EVERYWHERE, Endpoint, NetworkWish
from fnrunner.settings import Settings


def network_wish(settings: Settings, *, api_here: bool = False) -> NetworkWish:
    """The broker and the store are kept from functions. With ``api_here`` the Lambda API listens on this host where the
    settings say so, and they may call it; elsewhere it is an address outside, or somebody else has that port.

    >>> wish = network_wish(Settings.read({"FNRUNNER_BROKER_URL": "amqp://u:p@one,two:5673/x"}), api_here=True)
    >>> wish.services, wish.allow
    (('one', 'two'), (Endpoint(host='127.0.0.1', port=9000),))
    """
    api = [Endpoint(settings.host, settings.port)] if api_here and _callable(settings) else []
    return NetworkWish(
        mode=settings.network,
        allow=(*api, *(Endpoint(host, port) for host, port in settings.network_allow)),
        deny=settings.network_deny,
        services=tuple(dict.fromkeys((*hosts_of(settings.broker_url), *hosts_of(settings.store)))),
    )


def api_url(settings: Settings) -> str:
    """Where functions reach the API of their own host; empty where they cannot.

    >>> api_url(Settings.read({"FNRUNNER_PORT": "80"})), api_url(Settings.read({"FNRUNNER_NETWORK": "none"}))
    ('http://127.0.0.1:80', '')
    """
    if not _callable(settings) or settings.network == "none":
        return ""
    return f"http://{'127.0.0.1' if settings.host in EVERYWHERE else settings.host}:{settings.port}"


def _callable(settings: Settings) -> bool:
    # a port that is only found when it listens cannot be called, nor an address of IPv6 alone
    return bool(settings.port) and (settings.host == "::" or ":" not in settings.host)


def hosts_of(url: str) -> Iterator[str]:
    """Every host that a URL of a broker or a database names, without ports and IPv6 addresses.

    >>> list(hosts_of("postgresql://u:p%40@db.test:5432,[::1]:1/x?host=other&host=/run/postgresql"))
    ['db.test', 'other']
    >>> list(hosts_of("embedded:")), list(hosts_of("sqlite:////var/lib/x"))
    ([], [])
    """
    _, found, rest = url.partition("://")
    if not found or url.startswith("sqlite"):
        return
    authority = rest.replace("?", "/").partition("/")[0].rpartition("@")[2]
    hosts = [host.strip() for host in authority.split(",")]
    query = parse_qs(rest.partition("?")[2])
    hosts += [part for value in query.get("host", []) + query.get("hostaddr", []) for part in value.split(",")]
    for host in hosts:
        if host and not host.startswith(("[", "/")):
            yield unquote(host.partition(":")[0])
