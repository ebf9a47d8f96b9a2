"""The stable codes of a failed video: `error.code` is one of these, whatever the upstream calls it."""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, str] = {
    "content_policy_violation": (
        "The upstream's moderation refused the prompt, the picture or the result. Change the request."
    ),
    "invalid_request": "The upstream refused the request as malformed or unsupported. Change the request.",
    "invalid_reference": "The reference picture could not be fetched or is not a usable picture.",
    "insufficient_quota": (
        "Every upstream of the model was out of balance for as long as a video may queue. Top up, then post again."
    ),
    "upstream_auth": (
        "Every upstream of the model refused its keys for as long as a video may queue. The operator must replace one."
    ),
    "model_not_found": "The upstream does not serve the model.",
    "queue_timeout": "The video waited in the queue for longer than GATEWAY_QUEUE_TIMEOUT_S.",
    "submission_unknown": (
        "The answer to the submit was lost and it could not be proven whether the upstream made the video."
    ),
    "upstream_timeout": "The upstream did not finish within GATEWAY_MAX_WAIT_S.",
    "upstream_job_lost": "The upstream no longer knows the video it accepted.",
    "upstream_cancelled": "The upstream cancelled the video.",
    "upstream_expired": "The upstream let the video expire before it was finished.",
    "upstream_error": "The upstream failed to make the video; `message` has its words.",
    "content_expired": "The video was made, but the upstream no longer serves its content.",
    "content_invalid": "What the upstream served as content, every time, was not a video.",
    "storage_error": "The finished video could not be written to the bucket while the upstream kept it.",
}
