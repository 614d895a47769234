"""A process that uses the idempotency helper as functions do. Runs on any Python that functions run on.

``race STORE KEY FILE``: one guarded call, whose effect is a line in FILE; prints its result.
``transact STORE COUNT SEED``: each of COUNT keys in a random order, its effect a row of the table ``effect``; prints
``record``, ``effect`` and the key as it comes by.
``guard STORE COUNT SEED FILE``: the same by the decorator, effects and completions being lines in FILE; prints each.

All wait for a line on stdin when they are ready.
"""

import os
import random
import sqlite3
import sys
import time
from datetime import timedelta

from fnrunner_idempotency import (
    IdempotencyAlreadyInProgressError,
    PostgresStore,
    SQLiteStore,
    idempotent,
    idempotent_function,
    once,
)

LEASE = timedelta(seconds=float(os.environ.get("LEASE_S", "60")))


class Context:
    def __init__(self, request_id, seconds=30.0):
        self.aws_request_id, self.end = request_id, time.time() + seconds

    def get_remaining_time_in_millis(self):
        return max(0, int((self.end - time.time()) * 1000))


def store_of(url):
    return PostgresStore(url) if url.startswith("postgresql:") else SQLiteStore(url)


def connect(url):
    if url.startswith("postgresql:"):
        import psycopg

        return psycopg.connect(url), "%s"
    return sqlite3.connect(url, timeout=60), "?"


def append(path, text):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def ready():
    print("ready", flush=True)
    sys.stdin.readline()


def race(url, key, path):
    @idempotent(store=store_of(url))
    def handler(event, context):
        append(path, f"{os.getpid()}")
        time.sleep(0.3)
        return {"ran in": os.getpid()}

    ready()
    print(handler({}, Context(key))["ran in"], flush=True)


def keys_of(count, seed):
    keys = list(range(int(count)))
    random.Random(int(seed)).shuffle(keys)
    return keys


def transact(url, count, seed):
    connection, mark = connect(url)
    ready()
    for key in keys_of(count, seed):
        with once(connection, key) as first:
            linger("record")
            if first:
                connection.execute(f"INSERT INTO effect VALUES ({mark}, {mark})", (key, os.getpid()))
            linger("effect")
        print(key, flush=True)


def linger(after):
    """Say where this process is, and be there long enough to be killed there."""
    print(after, flush=True)
    time.sleep(0.005)


def guard(url, count, seed, path):
    @idempotent_function(store=store_of(url), key="key", lease=LEASE, margin=timedelta(0))
    def effect(key):
        append(path, f"ran {key}")
        return key

    ready()
    for key in keys_of(count, seed):
        while True:
            try:
                effect(key)
                break
            except IdempotencyAlreadyInProgressError:
                pass  # a killed one's: the platform would try again later
        append(path, f"complete {key}")
        print(key, flush=True)


if __name__ == "__main__":
    {"race": race, "transact": transact, "guard": guard}[sys.argv[1]](*sys.argv[2:])
