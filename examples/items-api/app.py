"""A web API with a table of items: list, create, read, replace, delete.

The table is in PostgreSQL when DATABASE_URL names one, otherwise in a SQLite file in DATA_DIR. The same requests work over
a function URL, whose only route is ``$default``, and over the routes of an HTTP API.
"""

import base64
import json
import os
import sqlite3
import uuid
from contextlib import closing

TABLE = "CREATE TABLE IF NOT EXISTS item (id TEXT PRIMARY KEY, name TEXT NOT NULL, quantity INTEGER NOT NULL)"


class Problem(Exception):
    """What the client is told instead of an answer."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def connect():
    """A connection and the mark that stands for a parameter in its statements."""
    url = os.environ.get("DATABASE_URL")
    if url:
        import psycopg

        return psycopg.connect(url), "%s"
    path = os.path.join(os.environ["DATA_DIR"], ".items.sqlite")
    return sqlite3.connect(path, timeout=5), "?"


def handler(event, context):
    http = event["requestContext"]["http"]
    parts = [part for part in event["rawPath"].split("/") if part]
    try:
        if not parts or parts[0] != "items" or len(parts) > 2:
            raise Problem(404, "there is only /items and /items/{id}")
        connection, mark = connect()
        with closing(connection):
            connection.execute(TABLE)
            answer = answered(connection, mark, http["method"], parts[1:], event)
            connection.commit()
        return answer
    except Problem as problem:
        return reply(problem.status, {"message": str(problem)})


def answered(connection, mark, method, rest, event):
    if not rest:
        if method == "GET":
            rows = connection.execute("SELECT id, name, quantity FROM item ORDER BY name, id").fetchall()
            return reply(200, {"items": [item(row) for row in rows]})
        if method == "POST":
            name, quantity = read(event)
            key = str(uuid.uuid4())
            connection.execute(f"INSERT INTO item VALUES ({mark}, {mark}, {mark})", (key, name, quantity))
            return reply(201, item((key, name, quantity)), {"location": f"/items/{key}"})
        raise Problem(405, f"/items takes GET and POST, not {method}")
    key = rest[0]
    if method == "GET":
        row = connection.execute(f"SELECT id, name, quantity FROM item WHERE id = {mark}", (key,)).fetchone()
        if row is None:
            raise Problem(404, f"there is no item {key}")
        return reply(200, item(row))
    if method == "PUT":
        name, quantity = read(event)
        statement = f"UPDATE item SET name = {mark}, quantity = {mark} WHERE id = {mark}"
        if connection.execute(statement, (name, quantity, key)).rowcount == 0:
            raise Problem(404, f"there is no item {key}")
        return reply(200, item((key, name, quantity)))
    if method == "DELETE":
        if connection.execute(f"DELETE FROM item WHERE id = {mark}", (key,)).rowcount == 0:
            raise Problem(404, f"there is no item {key}")
        return {"statusCode": 204}
    raise Problem(405, f"/items/{{id}} takes GET, PUT and DELETE, not {method}")


def read(event):
    """Name and quantity of the request's body."""
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body)
    try:
        given = json.loads(body)
        name, quantity = given["name"], given.get("quantity", 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Problem(400, 'the body takes {"name": text, "quantity": whole number}') from None
    if not isinstance(name, str) or not name or type(quantity) is not int:
        raise Problem(400, "name takes a text, quantity a whole number")
    return name, quantity


def item(row):
    return {"id": row[0], "name": row[1], "quantity": row[2]}


def reply(status, document, headers=None):
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", **(headers or {})},
        "body": json.dumps(document),
    }
