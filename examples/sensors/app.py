"""Keeps the newest reading of each sensor, its extremes, and how many readings came.

Readings of one sensor have the sensor's name as partition key, so they come in order; a reading that is older than the one
before would be a fault, and raises. Each batch is one transaction together with the position it ends at: a batch that
comes twice changes nothing. A reading that was set aside leaves a gap between positions; redriven, it comes late, fills the
gap, and counts.
"""

import base64
import json
import os
import sqlite3
from contextlib import closing

TABLES = """
CREATE TABLE IF NOT EXISTS sensor (
    name TEXT PRIMARY KEY, at INTEGER NOT NULL, celsius REAL NOT NULL, low REAL NOT NULL, high REAL NOT NULL,
    readings INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS position (shard TEXT PRIMARY KEY, sequence INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS gap (shard TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
"""
KEEP = """
INSERT INTO sensor VALUES (:name, :at, :celsius, :celsius, :celsius, 1)
ON CONFLICT (name) DO UPDATE SET
    celsius = CASE WHEN :at >= at THEN :celsius ELSE celsius END, at = max(at, :at),
    low = min(low, :celsius), high = max(high, :celsius), readings = readings + 1
"""
REMEMBER = "INSERT INTO position VALUES (?, ?) ON CONFLICT (shard) DO UPDATE SET sequence = excluded.sequence"


def handler(event, context):
    path = os.path.join(os.environ["DATA_DIR"], ".sensors.sqlite")
    with closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.executescript(TABLES)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for record in event["Records"]:
                follow(connection, record)


def follow(connection, record):
    shard = record["eventID"].partition(":")[0]
    sequence = int(record["kinesis"]["sequenceNumber"])
    known = connection.execute("SELECT sequence FROM position WHERE shard = ?", (shard,)).fetchone()
    late = known is not None and sequence <= known[0]
    if late and not filled(connection, shard, sequence):
        return
    reading = json.loads(base64.b64decode(record["kinesis"]["data"]))
    name, at, celsius = reading["sensor"], int(reading["at"]), float(reading["celsius"])
    last = connection.execute("SELECT at FROM sensor WHERE name = ?", (name,)).fetchone()
    if last is not None and at < last[0] and not late:
        raise ValueError(f"{name}: a reading of {at} came after one of {last[0]}")
    connection.execute(KEEP, {"name": name, "at": at, "celsius": celsius})
    if late:
        return
    if known is not None and sequence > known[0] + 1:
        connection.execute("INSERT INTO gap VALUES (?, ?, ?)", (shard, known[0] + 1, sequence - 1))
    connection.execute(REMEMBER, (shard, sequence))


def filled(connection, shard, sequence):
    """Take one position out of the gap that it is in; False when it is in none: the reading has been counted."""
    where = "shard = ? AND ? BETWEEN first AND last"
    gap = connection.execute(f"SELECT first, last FROM gap WHERE {where}", (shard, sequence)).fetchone()
    if gap is None:
        return False
    connection.execute(f"DELETE FROM gap WHERE {where}", (shard, sequence))
    rest = [(shard, gap[0], sequence - 1), (shard, sequence + 1, gap[1])]
    connection.executemany("INSERT INTO gap VALUES (?, ?, ?)", [one for one in rest if one[1] <= one[2]])
    return True
