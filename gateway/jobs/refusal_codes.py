"""The stable codes of a request that is refused: `error.code` of every error answer is one of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

RefusalCode = Literal[
    "already_final",
    "bad_request",
    "body_too_large",
    "content_removed",
    "delivery_in_progress",
    "duplicate_parameter",
    "endpoint_disabled",
    "idempotency_key_reused",
    "image_too_large",
    "internal_error",
    "invalid_api_key",
    "invalid_form",
    "invalid_image",
    "invalid_image_size",
    "invalid_json",
    "invalid_type",
    "invalid_value",
    "malformed_request",
    "method_not_allowed",
    "missing_api_key",
    "missing_required_parameter",
    "model_not_found",
    "model_retired",
    "not_found",
    "not_ready",
    "open_access_refused",
    "queue_full",
    "rate_limit_exceeded",
    "receiver_silent",
    "remix_not_available",
    "request_timeout",
    "requested_range_not_satisfiable",
    "string_above_max_length",
    "too_many_endpoints",
    "unavailable",
    "unknown_parameter",
    "unsupported_content_encoding",
    "unsupported_content_type",
    "variant_not_available",
    "video_cancelled",
    "video_failed",
    "webhook_secret_missing",
]
"""What the type checker holds every raised code against."""


@dataclass(frozen=True, slots=True)
class Advice:
    """With which HTTP statuses a code comes, what it means and what to do."""

    statuses: Sequence[int]
    text: str


REFUSALS: Mapping[RefusalCode, Advice] = {
    "missing_required_parameter": Advice([400], "The field named in `param` is required."),
    "unknown_parameter": Advice([400], "There is no such field, or the model does not take it. The message lists all."),
    "duplicate_parameter": Advice([400], "The field came twice. Send it once."),
    "invalid_type": Advice([400], "The field is of another type; the message says which is expected."),
    "invalid_value": Advice([400], "The field's value is not allowed; the message says what is. Also a refused URL."),
    "string_above_max_length": Advice([400], "The prompt is longer than the model takes."),
    "invalid_json": Advice([400], "The body is not a JSON object, or a name stands in it twice."),
    "invalid_form": Advice([400], "The form breaks off, or names no boundary. Let your HTTP library build it."),
    "invalid_image": Advice([400], "The picture is no whole PNG, JPEG or WebP, or no valid `data:` URL."),
    "image_too_large": Advice([400], "The picture has more than 10 MB or 50 megapixels."),
    "invalid_image_size": Advice([400], "This model wants a picture exactly as large as the video."),
    "model_not_found": Advice([400, 404], "No such model is served here; `GET /v1/models` lists them."),
    "model_retired": Advice([400], "The model takes no new videos any more. Choose another."),
    "remix_not_available": Advice([400], "The upstream that made the video makes no remixes. Post a new video."),
    "webhook_secret_missing": Advice(
        [400], "Callbacks could not be signed: the operator must set a secret, or make the key with `gateway keys`."
    ),
    "bad_request": Advice([400], "The request is not valid HTTP. Mend the client."),
    "malformed_request": Advice(
        [400, 403, 414, 417, 431, 501], "As `bad_request`, seen while the request was read: a URL too long, say."
    ),
    "missing_api_key": Advice([401], "Send `Authorization: Bearer KEY`."),
    "invalid_api_key": Advice([401], "The key is unknown or was revoked. Ask the operator for one."),
    "open_access_refused": Advice([403], "A gateway without keys answers only this machine. Make a key."),
    "not_found": Advice([404], "There is no such thing, or it belongs to another client."),
    "variant_not_available": Advice([404], "The video has no thumbnail or spritesheet."),
    "method_not_allowed": Advice([405], "The `Allow` header lists what is."),
    "request_timeout": Advice([408], "The body stopped coming, or came too slowly. Send it again."),
    "not_ready": Advice([409], "The video is not finished. Wait for its callback, or ask for it again."),
    "video_failed": Advice([409], "There will be no content; the video's `error` says why."),
    "video_cancelled": Advice([409], "There will be no content."),
    "already_final": Advice([409], "The video is finished, so it can't be cancelled. Delete it, if you like."),
    "delivery_in_progress": Advice([409], "An attempt is under way. Look at the deliveries in a moment."),
    "endpoint_disabled": Advice([409], "Turn the endpoint on first: `POST` to it with `enabled: true`."),
    "too_many_endpoints": Advice([409], "Delete an endpoint that is no longer used."),
    "content_removed": Advice([410], "The video's time here is over. Fetch videos sooner, or post it again."),
    "body_too_large": Advice([413], "The body has more than GATEWAY_MAX_BODY_BYTES, or too many parts."),
    "unsupported_content_type": Advice([415], "Send JSON, a multipart form or an urlencoded one."),
    "unsupported_content_encoding": Advice([415], "Send the body uncompressed."),
    "requested_range_not_satisfiable": Advice([416], "The range lies behind the end; `Content-Range` has the length."),
    "idempotency_key_reused": Advice([422], "The `Idempotency-Key` was used with another request. Make a new key."),
    "receiver_silent": Advice(
        [424], "The receiver that was to be tested gave no answer; the message says why. The test is sent again."
    ),
    "rate_limit_exceeded": Advice([429], "Too many requests a minute. Wait for `Retry-After`."),
    "queue_full": Advice([429], "The client has too many unfinished videos. Post again when some are done."),
    "internal_error": Advice(
        [500], "A mistake of ours: tell the operator the `x-request-id`. Sending it again may help."
    ),
    "unavailable": Advice([503], "Something here is busy or away; nothing was done. Try again after `Retry-After`."),
}
"""In the order of their statuses."""
