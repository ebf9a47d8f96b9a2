"""Variants: the thumbnail and the spritesheet that lie beside a video in the bucket."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("variants", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "variants")
