"""The worker's limits: every patience and lease, in seconds, from the settings and from what was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long things may take. The names without a comment are settings of the same name."""

    poll_interval_s: float
    poll_timeout_s: float
    max_wait_s: float
    submit_timeout_s: float
    reconcile_after_s: float
    queue_timeout_s: float
    content_wait_s: float
    webhook_timeout_s: float
    retention_s: float
    resubmit_unknown: bool
    webhook_schedule_s: tuple[float, ...]
    url_ttl_s: int
    submit_grace_s: float = 5.0
    """How old a committed intent may be when the first byte leaves; also the slack after a submit's deadline."""
    prepare_lease_s: float = 60.0
    """For fetching the reference picture before the intent is written."""
    open_lease_s: float = 600.0
    """For the first byte of a content: some upstreams fetch the whole file before they send it."""
    transfer_lease_s: float = 120.0
    """Extended at every third while bytes move; longer than a store may take to confirm the last of them."""
    variants_s: float = 10.0
    """For all that is fetched beside a video, waiting for the key's rate included; within what a stop leaves."""
    reconcile_lease_s: float = 120.0
    """For one walk through an upstream's list."""
    clock_skew_s: float = 600.0
    """How far an upstream's clock may be off when its list is compared with an intent."""

    @property
    def poll_lease_s(self) -> float:
        """How far a claim pushes a poll: the video's own interval, unless one answer may take longer."""
        return max(self.poll_interval_s, self.poll_timeout_s + 5.0)

    @property
    def claims_outlast_polls(self) -> bool:
        """Whether a claim for a poll lasts longer than until the next one, and so has to be given back."""
        return self.poll_lease_s > self.poll_interval_s

    @property
    def submit_lease_s(self) -> float:
        """When a submit without an answer may be reconciled though its owner is not proven dead."""
        return self.submit_timeout_s + 2 * self.submit_grace_s

    @property
    def delivery_lease_s(self) -> float:
        """How far a claim pushes a delivery."""
        return self.webhook_timeout_s + 5.0
