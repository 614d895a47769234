"""Which adapter serves what, what a mapping may say about getting in, and what a queue's attributes may be."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sources.adapters import queue, rmq, sqs
from sources.errors import Misconfigured
from sources.mapping import EventSourceMapping, SourceAccess
from sources.queue_attributes import QueueAttributes, document_of, read
from sources.registry import adapter_of
from sources.source import Services

nobody: Any = None
SERVICES = Services(nobody, nobody, nobody, virtual_hosts={"fnrunner": "/", "shop": "/orders"})
OWN = "arn:aws:sqs:us-east-1:000000000000:jobs"
FOREIGN = "arn:aws:sqs:us-east-1:123456789012:jobs"


def mapping(arn: str, *access: tuple[str, str]) -> EventSourceMapping:
    return EventSourceMapping("u", "f", source_arn=arn, queue="q", access=tuple(SourceAccess(*each) for each in access))


def broker(*access: tuple[str, str], name: str = "shop") -> EventSourceMapping:
    return mapping(f"arn:aws:mq:us-east-1:1:broker:{name}:b-1", *access)


def test_the_account_decides_where_a_queue_is() -> None:
    elsewhere = replace(SERVICES, endpoints={"sqs": "http://127.0.0.1:1"})
    assert adapter_of(mapping(OWN), SERVICES) is queue.ADAPTER
    assert adapter_of(mapping(OWN), elsewhere) is queue.ADAPTER
    assert adapter_of(mapping(FOREIGN), elsewhere) is sqs.ADAPTER
    assert adapter_of(broker(), SERVICES) is rmq.ADAPTER
    with pytest.raises(Misconfigured, match="FNRUNNER_AWS_ENDPOINTS"):
        adapter_of(mapping(FOREIGN), SERVICES)


@pytest.mark.parametrize("name", ["fnrunner.v1.events.f", "amq.gen-1"])
def test_fnrunners_own_queues_are_no_sources(name: str) -> None:
    with pytest.raises(Misconfigured, match="name one of yours"):
        queue.ADAPTER.open(mapping(f"arn:aws:sqs:us-east-1:000000000000:{name}"), SERVICES)


@pytest.mark.parametrize(
    "access",
    [
        [], [("VIRTUAL_HOST", "/orders")], [("BASIC_AUTH", "shop")],
        [("BASIC_AUTH", "arn:aws:secretsmanager:us-east-1:1:secret:shop"), ("VIRTUAL_HOST", "/orders")],
        [("BASIC_AUTH", "arn:aws:secretsmanager:us-east-1:1:secret:shop-AbC123")],
    ],
)  # fmt: skip
def test_access_that_is_the_brokers_own_is_accepted(access: list[tuple[str, str]]) -> None:
    assert rmq.virtual_host(broker(*access), SERVICES) == "/orders"


@pytest.mark.parametrize(
    ("access", "fault"),
    [
        (("VIRTUAL_HOST", "/"), "VIRTUAL_HOST '/' is not that of broker shop, which is '/orders'"),
        (("BASIC_AUTH", "arn:aws:secretsmanager:us-east-1:1:secret:other"), "BASIC_AUTH names other credentials"),
        (("BASIC_AUTH", "shopping"), "BASIC_AUTH names other credentials"),
        (
            ("BASIC_AUTH", "arn:aws:secretsmanager:us-east-1:1:secret:shop-toolong"),
            "BASIC_AUTH names other credentials",
        ),
        (("SASL_SCRAM_256_AUTH", "x"), "SASL_SCRAM_256_AUTH says nothing"),
    ],
)
def test_other_access_is_refused_by_name(access: tuple[str, str], fault: str) -> None:
    with pytest.raises(Misconfigured, match=fault):
        rmq.ADAPTER.open(broker(access), SERVICES)


def test_an_unknown_broker_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"no broker 'nowhere'.*fnrunner, shop are known"):
        rmq.ADAPTER.open(broker(name="nowhere"), SERVICES)


def test_attributes_are_read_as_they_are_written() -> None:
    given = QueueAttributes(timedelta(minutes=2), 3, "dead", fifo=True)
    assert read(document_of(given)) == given
    assert read({}) == QueueAttributes(timedelta(seconds=30))
    assert read({"max_receive_count": None, "dead_letter_queue": ""}) == QueueAttributes()


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"visibility_timeout_s": 43_201}, "0 to 43200"),
        ({"visibility_timeout_s": -1}, "0 to 43200"),
        ({"visibility_timeout_s": 10**30}, "0 to 43200"),
        ({"visibility_timeout_s": "30"}, "whole number"),
        ({"visibility_timeout_s": True}, "whole number"),
        ({"max_receive_count": 3}, "belong together"),
        ({"dead_letter_queue": "dead"}, "belong together"),
        ({"max_receive_count": 0, "dead_letter_queue": "dead"}, "1 to 1000"),
        ({"max_receive_count": 2.5, "dead_letter_queue": "dead"}, "whole number"),
        ({"fifo": 1}, "true or false"),
        ({"colour": "red"}, "no attribute colour"),
    ],
)
def test_attributes_that_mean_nothing_are_refused(document: dict[str, Any], fault: str) -> None:
    with pytest.raises(Misconfigured, match=fault):
        read(document)
