"""The first schema. A copy of what :mod:`fnrunner.store.schema` was then; later revisions change it step by step."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _catalogue()
    _sources()
    _ledger()
    _workers()


def downgrade() -> None:
    """Drops everything: there was nothing before."""
    for table in (
        "function",
        "event_invoke_config",
        "bucket",
        "notification",
        "broker_queue",
        "seen_object",
        "checkpoint",
        "accepted",
        "attempt",
        "log",
        "dead_letter",
        "settled_total",
        "worker",
        "trial",
    ):
        op.drop_table(table)


def _catalogue() -> None:
    op.create_table(
        "function",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("revision_id", sa.String(36), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        comment="document: the Function as JSON; revision_id guards concurrent updates",
    )
    op.create_table(
        "event_invoke_config",
        sa.Column("function", sa.String(64), primary_key=True),
        sa.Column("qualifier", sa.String(128), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_table(
        "bucket",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("directory", sa.Text(), nullable=False),
    )
    op.create_table(
        "notification",
        sa.Column("function", sa.String(64), primary_key=True),
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("bucket", sa.String(63), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        comment="ids are the user's: two functions may use the same one",
    )
    op.create_index("ix_notification_bucket", "notification", ["bucket"])


def _sources() -> None:
    op.create_table(
        "broker_queue",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        comment="queues and streams that users created, so that they can be listed",
    )
    op.create_table(
        "seen_object",
        sa.Column("bucket", sa.String(63), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.String(64), nullable=False),
        comment="the watcher's checkpoint: what has been announced of each object",
    )
    op.create_table(
        "checkpoint",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
    )


def _ledger() -> None:
    op.create_table(
        "accepted",
        sa.Column("id", _id, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("qualifier", sa.String(128), nullable=False),
        sa.Column("source", sa.String(255), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=False),
        comment="one row for each event whose acceptance was answered",
    )
    op.create_index("ix_accepted_event_id", "accepted", ["event_id"])
    op.create_index("ix_accepted_function_at_ms", "accepted", ["function", "at_ms"])
    op.create_table(
        "attempt",
        sa.Column("id", _id, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("error_type", sa.String(255), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("retry_in_ms", sa.BigInteger()),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("billed_ms", sa.Integer(), nullable=False),
        sa.Column("memory_mb", sa.Integer(), nullable=False),
        sa.Column("max_memory_mb", sa.Integer(), nullable=False),
        sa.Column("init_ms", sa.Float()),
        sa.Column("cold_reason", sa.String(16), nullable=False),
        sa.Column("log_stream", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("worker", sa.String(128), nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=False),
        comment="one row for each run or refusal; kind: event, request; "
        "outcome: succeeded, failed, throttled, faulted, died, expired",
    )
    op.create_index("ix_attempt_event_id_function_outcome_kind", "attempt", ["event_id", "function", "outcome", "kind"])
    op.create_index("ix_attempt_function_ended_ms", "attempt", ["function", "ended_ms"])
    op.create_table(
        "log",
        sa.Column("id", _id, primary_key=True, autoincrement=True),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("log_stream", sa.String(128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        comment="what functions wrote; START, END and REPORT lines are made from the attempts when shown",
    )
    op.create_index("ix_log_event_id", "log", ["event_id"])
    op.create_index("ix_log_function_at_ms", "log", ["function", "at_ms"])
    op.create_table(
        "dead_letter",
        sa.Column("id", _id, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("redrives", sa.Integer(), nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("error_type", sa.String(255), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("marked_ms", sa.BigInteger()),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("traceparent", sa.String(64), nullable=False),
        sa.UniqueConstraint("event_id", "redrives", "function"),
        comment="state: held, redriving, redriven, purged; marked_ms: since when it is redriving; "
        "reason: a destination record's condition, or why it could not be read",
    )
    op.create_index("ix_dead_letter_function_state_id", "dead_letter", ["function", "state", "id"])
    marked = sa.text("marked_ms IS NOT NULL")
    op.create_index(
        "ix_dead_letter_marked_ms", "dead_letter", ["marked_ms"], sqlite_where=marked, postgresql_where=marked
    )
    op.create_table(
        "settled_total",
        sa.Column("function", sa.String(64), primary_key=True),
        sa.Column("succeeded", sa.BigInteger(), nullable=False),
        sa.Column("dead_lettered", sa.BigInteger(), nullable=False),
        sa.Column("expired", sa.BigInteger(), nullable=False),
        sa.Column("duplicates", sa.BigInteger(), nullable=False),
        comment="finished events whose rows have been pruned, so that the audit still balances",
    )


def _workers() -> None:
    op.create_table(
        "worker",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_start", sa.String(32), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("zone", sa.String(64), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_ms", sa.BigInteger(), nullable=False),
        sa.Column("stopped_ms", sa.BigInteger()),
        sa.Column("died_ms", sa.BigInteger()),
        sa.Column("in_flight", sa.Text(), nullable=False),
        comment="process_start: clock ticks from the boot; stopped_ms: it drained; died_ms: it was found dead, not drained",
    )
    op.create_table(
        "trial",
        sa.Column("event_id", sa.String(64), primary_key=True),
        sa.Column("redrives", sa.Integer(), primary_key=True),
        sa.Column("worker", sa.String(128), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        comment="a suspect that runs alone: if the worker named here dies, the event did it",
    )
