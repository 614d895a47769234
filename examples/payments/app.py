"""Pays orders from a queue: an order is paid once and its receipt is written once, however often its message comes.

The accounts and the record that an order was paid are in one database and commit together (``once``): exactly once. A
receipt is a file, which no transaction covers: ``idempotent_function`` writes it again only if the function is killed between
the file and its record. The key of both is the order's own id, which is the same in two messages about one order.
"""

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from fnrunner_idempotency import SQLiteStore, idempotent_function, invocation, once

DATA = Path(os.environ["DATA_DIR"])
DATABASE = DATA / ".payments.sqlite"
TABLE = "CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, cents INTEGER NOT NULL)"
ADD = "INSERT INTO account VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET cents = cents + excluded.cents"


def handler(event, context):
    with invocation(context):
        for record in event["Records"]:
            order = json.loads(record["body"])
            paid_now = pay(order)
            if paid_now and order.get("stall"):
                time.sleep(60)  # until the timeout kills this function, as a slow network might
            write_receipt(order)


def pay(order):
    """Whether this was the first time. Another amount under the same id raises, and nothing is paid."""
    with connected() as connection, once(connection, order["id"], payload=order["cents"]) as first:
        if first:
            connection.execute(ADD, ("customer", -order["cents"]))
            connection.execute(ADD, ("shop", order["cents"]))
        return bool(first)


@idempotent_function(store=SQLiteStore(DATABASE), key="order.id")
def write_receipt(order):
    with open(DATA / f"{order['id']}.txt", "a") as receipt:
        receipt.write(f"order {order['id']}: {order['cents']} cents, with thanks\n")


def accounts(event, context):
    """What is in the accounts, in cents."""
    with connected() as connection:
        return dict(connection.execute("SELECT name, cents FROM account ORDER BY name").fetchall())


def connected():
    connection = sqlite3.connect(DATABASE, timeout=5)
    connection.execute(TABLE)
    return closing(connection)
