"""Published versions and aliases of functions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "publication",
        sa.Column("function", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("revision_id", sa.String(36), nullable=False),
        comment="the last version number given, never to be given again, and the revision of $LATEST that it left behind: "
        "while that is current, nothing has changed since",
    )
    op.create_table(
        "alias",
        sa.Column("function", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("alias")
    op.drop_table("publication")
