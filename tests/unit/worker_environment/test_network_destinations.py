"""Where functions may connect to: the decision, and the messages that carry it out."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnrunner.sandbox import plumber
from fnrunner.sandbox.destination import METADATA, Endpoint, NetworkWish, decide, fixed_rules, rules
from fnrunner.sandbox.network import Network, kinds
from fnrunner.sandbox.network_wish import hosts_of, network_wish
from fnrunner.sandbox.rtnetlink import attribute, attributes, number, rule, without
from fnrunner.sandbox.uplink import addresses_of, resolver_of
from fnrunner.settings import Settings, SettingsError

A, B, C = (IPv4Address(f"203.0.113.{last}") for last in (1, 2, 3))


def denies(access: object, address: str) -> bool:
    return any(IPv4Address(address) in network for network in access.denied)  # type: ignore[attr-defined]


def test_metadata_the_host_the_services_and_what_is_asked_for_are_denied() -> None:
    wish = NetworkWish(services=("broker", "gone"), deny=(IPv4Network("10.9.0.0/16"),))
    access = decide(wish, [A], {"broker": (B,)})
    for address in (
        "169.254.169.254",
        "168.63.129.16",
        str(A),
        str(B),
        "10.9.3.4",
        "198.18.0.2",
        "198.19.7.7",
        "127.0.0.1",
    ):
        assert denies(access, address), address
    for address in ("8.8.8.8", str(C), "10.8.0.1", "192.168.1.1", "198.17.255.255"):
        assert not denies(access, address), address
    assert access.exempt == ()


def test_an_exception_is_one_port_of_every_address_of_a_host() -> None:
    wish = NetworkWish(allow=(Endpoint("db", 5432), Endpoint("0.0.0.0", 9000), Endpoint("nobody", 1)))
    access = decide(wish, [A], {"db": (B, C)})
    assert access.exempt == ((IPv4Address("127.0.0.1"), 9000), (A, 9000), (B, 5432), (C, 5432))
    assert wish.hosts == ("db", "nobody")


def test_the_environment_is_told_nothing_of_the_hosts_loopback() -> None:
    denied, exempt = decide(NetworkWish(), [A], {}).packed()
    assert (A.packed, 32) in denied
    assert not [network for network, _ in denied if network[0] == 127]
    assert exempt == []


def test_a_change_of_the_decision_is_a_change_of_few_rules() -> None:
    before = rules(decide(NetworkWish(services=("broker",)), [A], {"broker": (B,)}))
    after = rules(decide(NetworkWish(services=("broker",)), [A], {"broker": (C,)}))
    assert set(before) - set(after) == {IPv4Network(B)}
    assert set(after) - set(before) == {IPv4Network(C)}


def test_exceptions_come_before_denials_and_both_before_local_addresses() -> None:
    found = rules(decide(NetworkWish(allow=(Endpoint("a", 1),)), [A], {"a": (A,)}))
    priorities = {name: priority_of(message.body) for name, message in found.items()}
    local = max(priority_of(message.body) for message in fixed_rules())
    assert priorities[A, 1] < min(priority_of(message.body) for message in fixed_rules())
    assert priorities[A, 1] < priorities[IPv4Network(A)] < local
    assert len({priorities[network] for network in METADATA}) == 1


def priority_of(body: bytes) -> int:
    return int(struct.unpack("=I", dict(attributes(body[12:]))[6])[0])


def test_a_rule_is_removed_by_what_made_it() -> None:
    made = rule(10, to=(A.packed, 32), port=(6, 80), table=254)
    assert without(made).body == made.body
    assert without(made).kind == made.kind + 1


@given(st.lists(st.tuples(st.integers(0, 0x7FFF), st.binary(max_size=40))))
def test_attributes_are_read_as_they_were_written(parts: list[tuple[int, bytes]]) -> None:
    assert list(attributes(b"".join(attribute(kind, data) for kind, data in parts))) == parts


@given(st.binary(max_size=100))
def test_any_bytes_end_as_attributes(data: bytes) -> None:
    assert len(list(attributes(data))) <= len(data) // 4


def test_numbers_are_of_the_machines_order() -> None:
    assert number(4, 65_520) == struct.pack("=HHI", 8, 4, 65_520)


def test_an_environment_covers_its_loopback_only_where_the_hosts_is_allowed() -> None:
    denied = [(A.packed, 32)]
    plain = plumber.inner(denied, [])
    outside = plumber.inner(denied, [(B.packed, 80)])
    local = plumber.inner(denied, [(b"\x7f\0\0\1", 9000)])
    assert [message.kind for message in plain] == [24, 24]
    assert [message.kind for message in outside] == [24, 24, 24, 32]
    # the rule for local addresses is there anew before it goes
    assert [message.kind for message in local] == [24, 24, 24, 32, 33, 32]


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("embedded:", []),
        ("amqp://guest:p%40ss@one:5672,two,three:1/vhost?heartbeat=5", ["one", "two", "three"]),
        ("amqps://[::1]:5671", []),
        ("amqp://one", ["one"]),
        ("amqp://u:p@one?x=1", ["one"]),
        ("postgresql+psycopg://u:p@db.test/fn?host=other,third&sslmode=require", ["db.test", "other", "third"]),
        ("postgresql:///fn?host=/run/postgresql", []),
        ("sqlite:////data/store.sqlite", []),
    ],
)
def test_hosts_are_those_that_a_url_names(url: str, hosts: list[str]) -> None:
    assert list(hosts_of(url)) == hosts


def test_settings_are_a_wish() -> None:
    settings = Settings.read(
        {
            "FNRUNNER_NETWORK": "private",
            "FNRUNNER_NETWORK_ALLOW": "db.test:5432",
            "FNRUNNER_NETWORK_DENY": "10.0.0.0/8,192.0.2.1",
            "FNRUNNER_BROKER_URL": "amqp://broker/",
            "FNRUNNER_STORE_URL": "postgresql://u:p@store/x",
            "FNRUNNER_PORT": "9100",
        }
    )
    wish = network_wish(settings, api_here=True)
    assert wish.mode == "private"
    assert wish.services == ("broker", "store")
    assert wish.allow == (Endpoint("127.0.0.1", 9100), Endpoint("db.test", 5432))
    assert wish.deny == (IPv4Network("10.0.0.0/8"), IPv4Network("192.0.2.1/32"))


def test_what_listens_where_an_api_would_is_not_allowed_on_a_host_without_one() -> None:
    assert network_wish(Settings.read({})).allow == ()


def test_an_api_without_a_port_or_an_ipv4_address_cannot_be_allowed() -> None:
    assert network_wish(Settings.read({"FNRUNNER_PORT": "0"}), api_here=True).allow == ()
    assert network_wish(Settings.read({"FNRUNNER_HOST": "::1"}), api_here=True).allow == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FNRUNNER_NETWORK", "bridge"),
        ("FNRUNNER_NETWORK_ALLOW", "db"),
        ("FNRUNNER_NETWORK_ALLOW", "db:0"),
        ("FNRUNNER_NETWORK_ALLOW", "db:70000"),
        ("FNRUNNER_NETWORK_ALLOW", "[::1]:80"),
        ("FNRUNNER_NETWORK_ALLOW", "db:\N{SUPERSCRIPT TWO}"),
        ("FNRUNNER_NETWORK_DENY", "10.0.0.1/8"),
        ("FNRUNNER_NETWORK_DENY", "example.test"),
        ("FNRUNNER_NETWORK_DENY", "fd00::/8"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.read({name: value})


def test_a_network_of_ones_own_and_no_namespaces_contradict_each_other() -> None:
    for mode in ("private", "none"):
        with pytest.raises(SettingsError, match="FNRUNNER_NETWORK"):
            Settings.read({"FNRUNNER_SANDBOX": "process", "FNRUNNER_NETWORK": mode})
    assert Settings.read({"FNRUNNER_SANDBOX": "process"}).network == "auto"


def test_a_resolver_keeps_what_is_not_a_name_server() -> None:
    host = "# mine\nnameserver 10.0.0.1\nnameserver ::1\n\nsearch a.test b.test\noptions ndots:2\nsortlist 1.2.3.4\n"
    assert resolver_of(host) == "nameserver 198.18.0.3\nsearch a.test b.test\noptions ndots:2\n"
    assert resolver_of("") == "nameserver 198.18.0.3\n"


def test_what_is_no_host_has_no_addresses() -> None:
    assert addresses_of("a..b") == ()
    assert addresses_of("x" * 300) == ()
    assert addresses_of("10.1.2.3") == (IPv4Address("10.1.2.3"),)


def test_a_spawner_that_is_told_nothing_has_the_hosts_network() -> None:
    host, alone = Network.told(""), Network.told("-1,-1")
    assert (host.own, host.namespaces, host.descriptors) == (False, 0, [])
    assert (alone.own, alone.namespaces, alone.descriptors) == (True, 0x40000000, [])
    assert "net" in kinds(True)
    assert "net" not in kinds(False)


def test_descriptors_get_new_numbers_in_their_order() -> None:
    network = Network(True, 7)
    network._answer = 8
    assert network.descriptors == [7, 8]
    assert network.moved([20, 21, 30, 31]) == [30, 31]
    assert network.descriptors == [20, 21]
    assert Network().moved([5, 6]) == [5, 6]
