"""Triggers (event source mappings, function URLs, schedules, subscriptions, routes) and attributes of queues."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trigger",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("id", sa.String(512), primary_key=True),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        comment="kind: mapping, url, schedule, subscription, route; document: the value as JSON",
    )
    op.create_index("ix_trigger_function", "trigger", ["function"])
    op.add_column("broker_queue", sa.Column("document", sa.Text(), nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("broker_queue", "document")
    op.drop_table("trigger")
