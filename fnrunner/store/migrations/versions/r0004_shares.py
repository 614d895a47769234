"""Shares of the account's concurrency, and provisioned concurrency."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("worker", sa.Column("share", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "provisioned_concurrency",
        sa.Column("function", sa.String(64), primary_key=True),
        sa.Column("qualifier", sa.String(128), primary_key=True),
        sa.Column("requested", sa.Integer(), nullable=False),
        sa.Column("modified_ms", sa.BigInteger(), nullable=False),
        comment="how many environments of a version or alias are asked for, over all workers",
    )
    op.create_table(
        "prepared",
        sa.Column("worker", sa.String(128), primary_key=True),
        sa.Column("function", sa.String(64), primary_key=True),
        sa.Column("qualifier", sa.String(128), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("share", sa.Integer(), nullable=False),
        sa.Column("available", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(255), nullable=False),
        comment="what each worker holds of the provisioned concurrency, how much of it is initialised, and why not more",
    )


def downgrade() -> None:
    op.drop_table("prepared")
    op.drop_table("provisioned_concurrency")
    op.drop_column("worker", "share")
