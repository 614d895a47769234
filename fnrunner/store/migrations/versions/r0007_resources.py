"""Layers, resource policies, code signing, tags of what is no function, settings of functions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "layer",
        sa.Column("name", sa.String(140), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False),
        comment="the last version number given, never to be given again, even when no version is left",
    )
    op.create_table(
        "layer_version",
        sa.Column("layer", sa.String(140), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_table(
        "policy",
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("name", sa.String(140), primary_key=True),
        sa.Column("qualifier", sa.String(128), primary_key=True),
        sa.Column("revision_id", sa.String(36), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        comment="kind: function, layer; qualifier: empty for the function itself, else its version or alias, or the "
        "layer's version; document: the policy as JSON, in IAM's language",
    )
    op.create_table(
        "function_setting",
        sa.Column("function", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(255), nullable=False),
        comment="what belongs to a function and to none of its versions; name: code-signing (an ARN), recursion",
    )
    op.create_table(
        "code_signing_config",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
    )
    op.create_table(
        "signing_profile",
        sa.Column("arn", sa.String(255), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        comment="who may sign code: the public key of each version of a signing profile",
    )
    op.create_table(
        "resource_tag",
        sa.Column("resource", sa.String(255), primary_key=True),
        sa.Column("document", sa.Text(), nullable=False),
        comment="tags of what is no function; resource: the end of its ARN, such as event-source-mapping:UUID",
    )


def downgrade() -> None:
    for name in (
        "resource_tag",
        "signing_profile",
        "code_signing_config",
        "function_setting",
        "policy",
        "layer_version",
        "layer",
    ):
        op.drop_table(name)
