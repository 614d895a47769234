"""Paces for tests: the same rules as in production, with shorter waits."""

from __future__ import annotations

from datetime import timedelta

from sources.announcer import Pace

QUICK = Pace(
    settle=timedelta(milliseconds=300),
    patience=timedelta(seconds=3),
    scan_every=timedelta(milliseconds=300),
    retry_first=timedelta(milliseconds=20),
    retry_longest=timedelta(milliseconds=200),
    closing=timedelta(seconds=2),
    accept_timeout=timedelta(seconds=20),
)
