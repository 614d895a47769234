"""A message whose batch was committed after that of a later one has its place by number, in memory and on disk."""

from __future__ import annotations

import pytest

from broker.embedded import backlog
from broker.embedded.backlog import Backlog
from broker.embedded.values import Entry
from broker.message import Message
from broker.topology import Queue


def entry(seq: int) -> Entry:
    return Entry(seq, None, "", "q", Message(b"%d" % seq), journaled=True)


def test_a_late_one_is_read_neither_twice_nor_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MEMORY_ENTRIES", 2)
    queue = Backlog(Queue("q"), 1, None)
    rows = {seq: entry(seq) for seq in (1, 2, 3, 4, 5)}
    for seq in (1, 3, 2, 5, 4):
        queue.push(rows[seq])
    assert queue.ready == 5
    taken = []
    while queue.ready:
        if queue.peek() is None:
            queue.loaded([rows[seq] for seq in sorted(rows) if seq > queue.tail_seq])
        taken.append(queue.pop().seq)
    assert sorted(taken) == [1, 2, 3, 4, 5]


def test_a_late_one_counts_among_the_rows_that_a_purge_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "MEMORY_ENTRIES", 1)
    queue = Backlog(Queue("q"), 1, None)
    for seq in (1, 3, 2):
        queue.push(entry(seq))
    entries, rows = queue.clear()
    assert [one.seq for one in entries] == [1]
    assert rows == (2, 3)
