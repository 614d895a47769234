"""Users, roles, policies, keys and sessions; keys that encrypt; and the log of calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _identities()
    _keys()
    _calls()


def _identities() -> None:
    op.create_table(
        "iam_identity",
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        comment="kind: user, role",
    )
    op.create_table(
        "iam_policy",
        sa.Column("arn", sa.String(2048), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        comment="policies that this account manages, with their versions",
    )
    op.create_table(
        "iam_inline_policy",
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        comment="owner: the user or role whose policy it is",
    )
    op.create_table(
        "iam_attachment",
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("arn", sa.String(2048), primary_key=True),
        comment="which managed policies users and roles have",
    )
    op.create_table(
        "iam_change",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        comment="one row; counts changes, so that other processes see that there are some",
    )


def _keys() -> None:
    op.create_table(
        "iam_access_key",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        comment="secret: encrypted",
    )
    op.create_index("ix_iam_access_key_owner", "iam_access_key", ["owner"])
    op.create_table(
        "iam_session",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        comment="temporary credentials; document: whose they are; secret: encrypted, with the session's token",
    )
    op.create_index("ix_iam_session_expires_ms", "iam_session", ["expires_ms"])
    op.create_table(
        "encryption_key",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("alias", sa.String(256), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.UniqueConstraint("alias", name="uq_encryption_key_alias"),
        comment="document: its state, and each of its versions, wrapped by the master key",
    )


def _calls() -> None:
    op.create_table(
        "control_call",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("principal", sa.String(2048), nullable=False),
        sa.Column("access_key", sa.String(128), nullable=False),
        sa.Column("service", sa.String(32), nullable=False),
        sa.Column("operation", sa.String(128), nullable=False),
        sa.Column("resource", sa.String(2048), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("source_ip", sa.String(64), nullable=False),
        sa.Column("user_agent", sa.String(512), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(128), nullable=False),
        comment="who changed or asked what, and what came of it; rows are only added, and go when they are too old",
    )
    op.create_index("ix_control_call_at_ms", "control_call", ["at_ms"])
    op.create_index("ix_control_call_request_id", "control_call", ["request_id"])


def downgrade() -> None:
    for name in (
        "control_call", "encryption_key", "iam_session", "iam_access_key", "iam_change", "iam_attachment",
        "iam_inline_policy", "iam_policy", "iam_identity",
    ):  # fmt: skip
        op.drop_table(name)
