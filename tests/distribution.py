"""How pytest-xdist shares the tests out under ``--dist loadfile``: long files first, and fewer servers.

A file that takes minutes must not begin when the others end. xdist begins with those that have the most tests, which are
the quick ones here. Each process starts what its tests need, and a RabbitMQ takes eight seconds of a processor: files that
need one more than others do are run by the same process.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = (
    # a container of RabbitMQ 4
    ("tests/conformance/broker/",),
    # a RabbitMQ to stop
    (
        "tests/integration/test_rabbitmq_alarm.py",
        "tests/integration/test_rabbitmq_streams.py",
        "tests/integration/test_rabbitmq_window.py",
        "tests/acceptance/test_bad_input.py",
    ),
)
"""Whose paths begin so go to one process."""

LONG_FIRST = (
    "tests/conformance/broker/",
    "tests/conformance/sources/streams/test_stream.py",
    "tests/integration/test_rabbitmq_",
    "tests/acceptance/test_bad_input.py",
    "tests/faults/test_nemesis.py",
    "tests/faults/test_scale_in.py",
    "tests/faults/test_rolling.py",
    "tests/faults/test_killed_again_and_again.py",
    "tests/faults/test_cap_over_workers.py",
    "tests/faults/test_cluster.py",
    "tests/faults/",
    "tests/acceptance/",
    "tests/integration/",
    "",
)
"""How their paths begin."""


def rank(nodeid: str) -> int:
    """The lower, the sooner."""
    return next(number for number, beginning in enumerate(LONG_FIRST) if nodeid.startswith(beginning))


class LongFilesFirst(LoadFileScheduling):
    """In the order of the collection. See ``rank``, by which it is sorted."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return next((files[0] for files in TOGETHER if nodeid.startswith(files)), None) or super()._split_scope(nodeid)
