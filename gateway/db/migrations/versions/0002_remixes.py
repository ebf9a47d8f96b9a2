"""Remixes: what the upstream calls the video that a remix starts from, and the key that made it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("source_job_id", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("source_key", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "source_key")
    op.drop_column("jobs", "source_job_id")
