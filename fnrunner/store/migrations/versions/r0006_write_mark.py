"""The last transaction of each writer, by which a commit without an answer is recognised."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "write_mark",
        sa.Column("writer", sa.String(32), primary_key=True),
        sa.Column("attempt", sa.String(32), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        comment="the last transaction that each writer committed; of use as long as the writer lives",
    )


def downgrade() -> None:
    op.drop_table("write_mark")
