"""The first schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "clients",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("secret_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("secret_rotated_at", sa.Double(), nullable=True),
        sa.Column("spent_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clients")),
    )
    op.create_table(
        "objects",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("sweeps", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("(due_at IS NULL) = (state = 'kept')", name=op.f("ck_objects_due_unless_kept")),
        sa.CheckConstraint("state IN ('writing', 'kept', 'garbage')", name=op.f("ck_objects_state")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_objects")),
    )
    op.create_index("ix_objects_due", "objects", ["due_at"], unique=False, **_where("due_at IS NOT NULL"))
    op.create_table(
        "upstream_keys",
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.Double(), nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column("probe_at", sa.Double(), nullable=True),
        sa.Column("probes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("spent_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("narrowed_to", sa.Integer(), nullable=True),
        sa.Column("narrowed_at", sa.Double(), nullable=True),
        sa.Column("last_answer", sa.Text(), nullable=True),
        sa.Column("last_answer_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("upstream", "key", name=op.f("pk_upstream_keys")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("beat_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["client"], ["clients.name"], name=op.f("fk_api_keys_client")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("size", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=True),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("extra", JSON, nullable=False),
        sa.Column("reference", JSON, nullable=True),
        sa.Column("callback_url", sa.Text(), nullable=True),
        sa.Column("callback_events", JSON, nullable=False),
        sa.Column("remixed_from", sa.Text(), nullable=True),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("sdk_retry", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
        sa.Column("claim_token", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claimed_at", sa.Double(), nullable=True),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("missing_since", sa.Double(), nullable=True),
        sa.Column("stood_still_s", sa.Double(), nullable=False),
        sa.Column("bucket_failed", sa.Boolean(), nullable=False),
        sa.Column("routes", sa.Text(), server_default="", nullable=False),
        sa.Column("upstream", sa.Text(), nullable=True),
        sa.Column("upstream_key", sa.Text(), nullable=True),
        sa.Column("key_fingerprint", sa.Text(), nullable=True),
        sa.Column("upstream_job_id", sa.Text(), nullable=True),
        sa.Column("accepted_at", sa.Double(), nullable=True),
        sa.Column("rendered_at", sa.Double(), nullable=True),
        sa.Column("content_expires_at", sa.Double(), nullable=True),
        sa.Column("object_key", sa.Text(), nullable=True),
        sa.Column("object_size", sa.BigInteger(), nullable=True),
        sa.Column("object_sha256", sa.Text(), nullable=True),
        sa.Column("object_type", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("removed_at", sa.Double(), nullable=True),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.CheckConstraint("(error_code IS NOT NULL) = (status = 'failed')", name=op.f("ck_jobs_error_when_failed")),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))",
            name=op.f("ck_jobs_finished_when_final"),
        ),
        sa.CheckConstraint(
            "(object_key IS NOT NULL) = (status = 'completed')", name=op.f("ck_jobs_object_when_completed")
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'submitting', 'rendering', 'storing', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_jobs_status"),
        ),
        sa.CheckConstraint(
            "upstream_job_id IS NOT NULL OR status NOT IN ('rendering', 'storing', 'completed')",
            name=op.f("ck_jobs_accepted_with_id"),
        ),
        sa.ForeignKeyConstraint(["client"], ["clients.name"], name=op.f("fk_jobs_client")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_claimed", "jobs", ["claimed_by"], unique=False, **_where("claimed_by IS NOT NULL"))
    op.create_index(
        "ix_jobs_due",
        "jobs",
        ["status", "due_at"],
        unique=False,
        **_where("status IN ('queued', 'submitting', 'rendering', 'storing')"),
    )
    op.create_index(
        "ix_jobs_durations",
        "jobs",
        ["model", "size", "seconds", "finished_at"],
        unique=False,
        **_where("status = 'completed'"),
    )
    op.create_index(
        "ix_jobs_listed", "jobs", ["client", "created_at", "id"], unique=False, **_where("deleted_at IS NULL")
    )
    op.create_index(
        "ix_jobs_queue", "jobs", ["client", "created_at", "id"], unique=False, **_where("status = 'queued'")
    )
    op.create_index(
        "ix_jobs_retention",
        "jobs",
        ["finished_at"],
        unique=False,
        **_where("finished_at IS NOT NULL AND removed_at IS NULL"),
    )
    op.create_index(
        "ix_jobs_retries",
        "jobs",
        ["client", "request_hash", "created_at", "id"],
        unique=False,
        **_where("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_jobs_unfinished",
        "jobs",
        ["client"],
        unique=False,
        **_where("status IN ('queued', 'submitting', 'rendering', 'storing')"),
    )
    op.create_index("ix_jobs_routes", "jobs", ["routes"], unique=False, **_where("status = 'queued'"))
    op.create_index(
        "ix_jobs_waiting", "jobs", ["created_at", "id", "model"], unique=False, **_where("status = 'queued'")
    )
    op.create_table(
        "receivers",
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["client"], ["clients.name"], name=op.f("fk_receivers_client")),
        sa.PrimaryKeyConstraint("client", "receiver", name=op.f("pk_receivers")),
    )
    op.create_table(
        "endpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event_types", JSON, nullable=False),
        sa.Column("secret_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("previous_until", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["client"], ["clients.name"], name=op.f("fk_endpoints_client")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
    )
    op.create_index(
        "ix_endpoints_listed",
        "endpoints",
        ["client", "created_at", "id"],
        unique=False,
        **_where("deleted_at IS NULL"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("endpoint_id", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claim_token", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.CheckConstraint("(due_at IS NOT NULL) = (status = 'pending')", name=op.f("ck_deliveries_due_when_pending")),
        sa.CheckConstraint(
            "job_id IS NOT NULL OR endpoint_id IS NOT NULL", name=op.f("ck_deliveries_of_a_job_or_an_endpoint")
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'exhausted', 'disabled')", name=op.f("ck_deliveries_status")
        ),
        sa.ForeignKeyConstraint(["client"], ["clients.name"], name=op.f("fk_deliveries_client")),
        sa.ForeignKeyConstraint(["endpoint_id"], ["endpoints.id"], name=op.f("fk_deliveries_endpoint_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_deliveries_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index(
        "ix_deliveries_claimed", "deliveries", ["claimed_by"], unique=False, **_where("claimed_by IS NOT NULL")
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["due_at", "client", "receiver"],
        unique=False,
        **_where("status = 'pending'"),
    )
    op.create_index(
        "ix_deliveries_endpoint",
        "deliveries",
        ["endpoint_id"],
        unique=False,
        **_where("status = 'pending' AND endpoint_id IS NOT NULL"),
    )
    op.create_index("ix_deliveries_job", "deliveries", ["job_id"], unique=False)
    op.create_index("ix_deliveries_listed", "deliveries", ["client", "created_at", "id"], unique=False)
    op.create_index(
        "ix_deliveries_receiver",
        "deliveries",
        ["client", "receiver", "due_at"],
        unique=False,
        **_where("status = 'pending'"),
    )
    op.create_table(
        "history",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("status_before", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_history_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_history")),
    )
    op.create_index("ix_history_job", "history", ["job_id", "id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["client"], ["clients.name"], name=op.f("fk_idempotency_keys_client")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_idempotency_keys_job_id")),
        sa.PrimaryKeyConstraint("client", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "submissions",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("key_fingerprint", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("upstream_job_id", sa.Text(), nullable=True),
        sa.Column("slot_released_at", sa.Double(), nullable=True),
        sa.Column("walked_at", sa.Double(), nullable=True),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("cancel_sent", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("claim_token", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(upstream_job_id IS NOT NULL) = (outcome = 'accepted')", name=op.f("ck_submissions_id_when_accepted")
        ),
        sa.CheckConstraint(
            "outcome IN ('unknown', 'accepted', 'refused', 'absent')", name=op.f("ck_submissions_outcome")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_submissions_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_submissions")),
        sa.UniqueConstraint("upstream", "upstream_job_id", name=op.f("uq_submissions_upstream_upstream_job_id")),
    )
    op.create_index(
        "ix_submissions_abandoned",
        "submissions",
        ["due_at"],
        unique=False,
        **_where("due_at IS NOT NULL AND slot_released_at IS NULL"),
    )
    op.create_index("ix_submissions_job", "submissions", ["job_id"], unique=False)
    op.create_index(
        "ix_submissions_slots", "submissions", ["upstream", "key"], unique=False, **_where("slot_released_at IS NULL")
    )
    op.create_index(
        "ix_submissions_unknown",
        "submissions",
        ["upstream", "fingerprint"],
        unique=False,
        **_where("outcome = 'unknown'"),
    )
    op.create_index(
        "uq_submissions_unresolved",
        "submissions",
        ["upstream", "fingerprint"],
        unique=True,
        **_where("outcome = 'unknown' AND slot_released_at IS NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), server_default="", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("delivery_id", "number", name=op.f("uq_attempts_delivery_id_number")),
    )


def downgrade() -> None:
    for table in (
        "attempts",
        "submissions",
        "idempotency_keys",
        "history",
        "deliveries",
        "endpoints",
        "receivers",
        "jobs",
        "api_keys",
        "workers",
        "upstream_keys",
        "objects",
        "clients",
    ):
        op.drop_table(table)
