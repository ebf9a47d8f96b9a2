"""The tables. Every `_at` column is Unix seconds as a double; statuses are checked by the database as a second wall."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from gateway.jobs.job import Status

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Instant = sa.Double
Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")


IN_HAND = ("queued", "submitting", "rendering", "storing")
"""The unfinished statuses, in the order in which the predicates of the partial indexes list them."""

UNFINISHED = "status IN ('queued', 'submitting', 'rendering', 'storing')"


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


clients = sa.Table(
    "clients",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    # Whose turn it is to submit: the client with the least. Moved on in the transaction that takes the turn.
    sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("secret_version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("secret_rotated_at", Instant),
    # The request rate of the client: the instant up to which its requests are already spent.
    sa.Column("spent_until", Instant, nullable=False, server_default="0"),
    sa.Column("created_at", Instant, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("client", sa.Text, sa.ForeignKey("clients.name"), nullable=False),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("hint", sa.Text, nullable=False),
    sa.Column("admin", sa.Boolean, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("revoked_at", Instant),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("client", sa.Text, sa.ForeignKey("clients.name"), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("size", sa.Text, nullable=False),
    sa.Column("seconds", sa.Integer, nullable=False),
    sa.Column("prompt", sa.Text),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.Column("reference", Json),
    sa.Column("callback_url", sa.Text),
    sa.Column("callback_events", Json, nullable=False),
    sa.Column("remixed_from", sa.Text),
    sa.Column("request_hash", sa.Text, nullable=False),
    sa.Column("sdk_retry", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("due_at", Instant, nullable=False),
    sa.Column("claim_token", sa.Integer, nullable=False),
    sa.Column("claimed_by", sa.Text),
    sa.Column("claimed_at", Instant),
    sa.Column("progress", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("missing", sa.Integer, nullable=False),
    sa.Column("missing_since", Instant),
    sa.Column("stood_still_s", Instant, nullable=False),
    sa.Column("bucket_failed", sa.Boolean, nullable=False),
    # The names of the upstreams that can make it, in order, with commas between them.
    sa.Column("routes", sa.Text, nullable=False, server_default=""),
    sa.Column("upstream", sa.Text),
    sa.Column("upstream_key", sa.Text),
    sa.Column("key_fingerprint", sa.Text),
    sa.Column("upstream_job_id", sa.Text),
    sa.Column("accepted_at", Instant),
    sa.Column("rendered_at", Instant),
    sa.Column("content_expires_at", Instant),
    sa.Column("object_key", sa.Text),
    sa.Column("object_size", sa.BigInteger),
    sa.Column("object_sha256", sa.Text),
    sa.Column("object_type", sa.Text),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("finished_at", Instant),
    sa.Column("removed_at", Instant),
    sa.Column("deleted_at", Instant),
    sa.Column("source_job_id", sa.Text),
    sa.Column("source_key", sa.Text),
    # By name: what lies beside the video, as the object_ columns tell of the video itself.
    sa.Column("variants", Json),
    _one_of("status", tuple(Status)),
    sa.CheckConstraint(
        "(finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))", name="finished_when_final"
    ),
    sa.CheckConstraint("(object_key IS NOT NULL) = (status = 'completed')", name="object_when_completed"),
    sa.CheckConstraint("(error_code IS NOT NULL) = (status = 'failed')", name="error_when_failed"),
    sa.CheckConstraint(
        "upstream_job_id IS NOT NULL OR status NOT IN ('rendering', 'storing', 'completed')", name="accepted_with_id"
    ),
)
for _index, _columns, _where in (
    ("ix_jobs_due", (jobs.c.status, jobs.c.due_at), UNFINISHED),
    ("ix_jobs_queue", (jobs.c.client, jobs.c.created_at, jobs.c.id), "status = 'queued'"),
    ("ix_jobs_routes", (jobs.c.routes,), "status = 'queued'"),
    ("ix_jobs_waiting", (jobs.c.created_at, jobs.c.id, jobs.c.model), "status = 'queued'"),
    ("ix_jobs_unfinished", (jobs.c.client,), UNFINISHED),
    ("ix_jobs_claimed", (jobs.c.claimed_by,), "claimed_by IS NOT NULL"),
    ("ix_jobs_retention", (jobs.c.finished_at,), "finished_at IS NOT NULL AND removed_at IS NULL"),
    ("ix_jobs_durations", (jobs.c.model, jobs.c.size, jobs.c.seconds, jobs.c.finished_at), "status = 'completed'"),
    ("ix_jobs_retries", (jobs.c.client, jobs.c.request_hash, jobs.c.created_at, jobs.c.id), "deleted_at IS NULL"),
    ("ix_jobs_listed", (jobs.c.client, jobs.c.created_at, jobs.c.id), "deleted_at IS NULL"),
):
    sa.Index(_index, *_columns, sqlite_where=sa.text(_where), postgresql_where=sa.text(_where))

history = sa.Table(
    "history",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("status_before", sa.Text),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("detail", Json, nullable=False),
    sa.Index("ix_history_job", "job_id", "id"),
)

submissions = sa.Table(
    "submissions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("upstream", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("key_fingerprint", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("closed_at", Instant),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("upstream_job_id", sa.Text),
    sa.Column("slot_released_at", Instant),
    sa.Column("walked_at", Instant),
    sa.Column("due_at", Instant),
    sa.Column("cancel_sent", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("claim_token", sa.Integer, nullable=False, server_default="0"),
    _one_of("outcome", ("unknown", "accepted", "refused", "absent")),
    sa.CheckConstraint("(upstream_job_id IS NOT NULL) = (outcome = 'accepted')", name="id_when_accepted"),
    sa.UniqueConstraint("upstream", "upstream_job_id"),
    sa.Index("ix_submissions_job", "job_id"),
)
for _index, _names, _where, _unique in (
    # Two unresolved submits of the same request on one key could not be told apart in the upstream's list.
    (
        "uq_submissions_unresolved",
        ("upstream", "fingerprint"),
        "outcome = 'unknown' AND slot_released_at IS NULL",
        True,
    ),
    ("ix_submissions_unknown", ("upstream", "fingerprint"), "outcome = 'unknown'", False),
    ("ix_submissions_slots", ("upstream", "key"), "slot_released_at IS NULL", False),
    ("ix_submissions_abandoned", ("due_at",), "due_at IS NOT NULL AND slot_released_at IS NULL", False),
):
    sa.Index(
        _index,
        *(submissions.c[name] for name in _names),
        unique=_unique,
        sqlite_where=sa.text(_where),
        postgresql_where=sa.text(_where),
    )

upstream_keys = sa.Table(
    "upstream_keys",
    metadata,
    sa.Column("upstream", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("paused_at", Instant),
    sa.Column("pause_reason", sa.Text),
    sa.Column("probe_at", Instant),
    sa.Column("probes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("spent_until", Instant, nullable=False, server_default="0"),
    sa.Column("narrowed_to", sa.Integer),
    sa.Column("narrowed_at", Instant),
    sa.Column("last_answer", sa.Text),
    sa.Column("last_answer_at", Instant),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("client", sa.Text, sa.ForeignKey("clients.name"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("event_types", Json, nullable=False),
    sa.Column("secret_version", sa.Integer, nullable=False, server_default="1"),
    # Until when the secret before this one signs beside it.
    sa.Column("previous_until", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("disabled_at", Instant),
    # Kept, since its deliveries name it.
    sa.Column("deleted_at", Instant),
)
sa.Index(
    "ix_endpoints_listed",
    endpoints.c.client,
    endpoints.c.created_at,
    endpoints.c.id,
    sqlite_where=sa.text("deleted_at IS NULL"),
    postgresql_where=sa.text("deleted_at IS NULL"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("client", sa.Text, sa.ForeignKey("clients.name"), nullable=False),
    # None for the test of an endpoint, which tells of no video.
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id")),
    sa.Column("endpoint_id", sa.Text, sa.ForeignKey("endpoints.id")),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("receiver", sa.Text, nullable=False),
    sa.Column("facts", Json, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("due_at", Instant),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("claim_token", sa.Integer, nullable=False, server_default="0"),
    sa.Column("claimed_by", sa.Text),
    _one_of("status", ("pending", "delivered", "exhausted", "disabled")),
    sa.CheckConstraint("(due_at IS NOT NULL) = (status = 'pending')", name="due_when_pending"),
    sa.CheckConstraint("job_id IS NOT NULL OR endpoint_id IS NOT NULL", name="of_a_job_or_an_endpoint"),
    sa.Index("ix_deliveries_job", "job_id"),
    sa.Index("ix_deliveries_listed", "client", "created_at", "id"),
)
for _index, _columns, _where in (
    # Covering, so that the receivers with something due are found in the index alone.
    ("ix_deliveries_due", (deliveries.c.due_at, deliveries.c.client, deliveries.c.receiver), "status = 'pending'"),
    ("ix_deliveries_receiver", (deliveries.c.client, deliveries.c.receiver, deliveries.c.due_at), "status = 'pending'"),
    ("ix_deliveries_endpoint", (deliveries.c.endpoint_id,), "status = 'pending' AND endpoint_id IS NOT NULL"),
    ("ix_deliveries_claimed", (deliveries.c.claimed_by,), "claimed_by IS NOT NULL"),
):
    sa.Index(_index, *_columns, sqlite_where=sa.text(_where), postgresql_where=sa.text(_where))

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", Serial, primary_key=True),
    sa.Column("delivery_id", sa.Text, sa.ForeignKey("deliveries.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("latency_ms", sa.Integer),
    sa.Column("answer", sa.Text, nullable=False, server_default=""),
    sa.Column("error", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("delivery_id", "number"),
)

receivers = sa.Table(
    "receivers",
    metadata,
    sa.Column("client", sa.Text, sa.ForeignKey("clients.name"), primary_key=True),
    sa.Column("receiver", sa.Text, primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("open_until", Instant),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("client", sa.Text, sa.ForeignKey("clients.name"), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("request_hash", sa.Text, nullable=False),
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("created_at", Instant, nullable=False, index=True),
)

objects = sa.Table(
    "objects",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("due_at", Instant),
    sa.Column("sweeps", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created_at", Instant, nullable=False),
    _one_of("state", ("writing", "kept", "garbage")),
    sa.CheckConstraint("(due_at IS NULL) = (state = 'kept')", name="due_unless_kept"),
)
sa.Index(
    "ix_objects_due",
    objects.c.due_at,
    sqlite_where=sa.text("due_at IS NOT NULL"),
    postgresql_where=sa.text("due_at IS NOT NULL"),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("beat_at", Instant, nullable=False),
)
