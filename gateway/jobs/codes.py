"""The stable codes of a failed video: `error.code` is one of these, whatever the upstream calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

FailureCode = Literal[
    "content_expired",
    "content_invalid",
    "content_policy_violation",
    "insufficient_quota",
    "invalid_reference",
    "invalid_request",
    "model_not_found",
    "queue_timeout",
    "storage_error",
    "submission_unknown",
    "upstream_auth",
    "upstream_cancelled",
    "upstream_error",
    "upstream_expired",
    "upstream_job_lost",
    "upstream_timeout",
]
"""What the type checker holds every failure against."""

CODES: Mapping[FailureCode, str] = {
    "content_policy_violation": (
        "The upstream's moderation refused the prompt, the picture or the result. Change the request."
    ),
    "invalid_request": "The upstream refused the request as malformed or unsupported. Change the request.",
    "invalid_reference": (
        "The reference picture could not be fetched or is not a usable picture. Post again with another."
    ),
    "insufficient_quota": (
        "Every upstream of the model was out of balance for as long as a video may queue. Top up, then post again."
    ),
    "upstream_auth": (
        "Every upstream of the model refused its keys for as long as a video may queue. The operator must replace one."
    ),
    "model_not_found": "The upstream does not serve the model. The operator must mend its name, or take it out.",
    "queue_timeout": (
        "The video waited in the queue for longer than GATEWAY_QUEUE_TIMEOUT_S. Post again when less is waiting."
    ),
    "submission_unknown": (
        "The answer to the submit was lost, and whether the upstream made the video could not be proven. Posting again "
        "may pay twice."
    ),
    "upstream_timeout": "The upstream did not finish within GATEWAY_MAX_WAIT_S. Post again.",
    "upstream_job_lost": (
        "The upstream no longer knows the video it accepted, or the one that was to be remixed. Post again."
    ),
    "upstream_cancelled": "The upstream cancelled the video. Post again.",
    "upstream_expired": "The upstream let the video expire before it was finished. Post again.",
    "upstream_error": "The upstream failed to make the video; `message` has its words. Post again.",
    "content_expired": "The video was made, but the upstream no longer serves its content. Post again.",
    "content_invalid": "What the upstream served as content, every time, was not a video. Post again.",
    "storage_error": (
        "The finished video could not be written to the bucket while the upstream kept it. Post again once the bucket "
        "is well."
    ),
}
