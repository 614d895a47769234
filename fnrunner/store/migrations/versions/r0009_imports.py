"""What the initialisation before an attempt imported, and what ran it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempt", sa.Column("imports", sa.Text(), nullable=False, server_default=""))
    op.add_column("attempt", sa.Column("runtime_version", sa.String(64), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("attempt") as table:
        table.drop_column("runtime_version")
        table.drop_column("imports")
