"""What a request may say, as marshmallow schemas: one source for the checks and for the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from gateway.api.loading import TYPE, UNKNOWN, errors
from gateway.jobs.intake import NewVideo
from gateway.jobs.job import SHOWN_AS
from gateway.jobs.ports import VideoFilter
from gateway.webhooks.events import DEFAULT_TYPES, TYPES

PROMPT_MAX = 32_000
METADATA_PAIRS = 16
METADATA_KEY_MAX = 64
METADATA_VALUE_MAX = 512
URL_MAX = 2048
PAGE_MAX = 100
STATUSES = tuple(dict.fromkeys(SHOWN_AS.values()))


def doc(description: str, **more: object) -> dict[str, object]:
    """Return what the document says of a field."""
    return {"description": description, **more}


# -- fields ------------------------------------------------------------------------------------------------------------


def text(most: int, expected: str, *, least: int = 1, **options: Any) -> fields.String:
    """Return a field of `least` to `most` characters."""
    checks = validate.Length(least, most, error=f"expected {expected}.")
    return fields.String(validate=checks, error_messages=errors(expected), **options)


class Seconds(fields.Field[int]):
    """A whole number of seconds, as text or as a number."""

    default_error_messages = errors("a whole number of seconds as text or number, such as '8' or 8")

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> int:
        del attr, data, options
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.make_error("invalid")
        if not re.fullmatch(r"[0-9]{1,4}", str(value), re.ASCII) or int(value) == 0:
            raise self.make_error("invalid")
        return int(value)


class ImageUrl(fields.Field[str]):
    """The picture by URL: an object with exactly `image_url`, an http(s) or data URL."""

    default_error_messages = errors(
        "a file part, or an object with exactly 'image_url', a text that begins with https://, http:// or data:"
    )

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> str:
        del attr, data, options
        if not isinstance(value, dict) or list(value) != ["image_url"] or not isinstance(value["image_url"], str):
            raise self.make_error("invalid")
        url: str = value["image_url"]
        if url[:5].lower() != "data:":
            check_url(url)
        return url


def check_url(url: str) -> None:
    """Raise ValidationError for what is no absolute URL of HTTP."""
    wrong = f"expected an absolute http:// or https:// URL of at most {URL_MAX} characters."
    if len(url) > URL_MAX or not re.fullmatch(r"[!-~]+", url, re.ASCII):
        raise ValidationError(wrong)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValidationError(wrong) from error
    if parts.scheme not in {"http", "https"} or not host:
        raise ValidationError(wrong)


def _check_size(size: str) -> None:
    if re.fullmatch(_SIZE_PATTERN, size, re.ASCII) is None:
        raise ValidationError(f"expected {_SIZE}.")


def _check_prompt(prompt: str) -> None:
    if not prompt.strip():
        raise ValidationError("expected text, not only white space.")


def _check_extra(extra: Mapping[str, object]) -> None:
    if len(repr(extra)) > 16_384:
        raise ValidationError("expected at most 16,384 characters.")


def check_distinct(events: list[str]) -> None:
    """Raise ValidationError for an event that stands twice."""
    if len(set(events)) != len(events):
        raise ValidationError("expected each event once.")


_SIZE = "a size such as '1280x720'"
_SIZE_PATTERN = "^[A-Za-z0-9:x*._-]{1,40}$"

_METADATA = (
    f"an object of up to {METADATA_PAIRS} pairs, both text: "
    f"keys of up to {METADATA_KEY_MAX} and values of up to {METADATA_VALUE_MAX} characters"
)


def _check_pairs(pairs: Mapping[str, str]) -> None:
    if len(pairs) > METADATA_PAIRS:
        raise ValidationError(f"expected {_METADATA}.")


def _metadata(description: str, **options: Any) -> fields.Dict:
    limits = {"maxProperties": METADATA_PAIRS, "propertyNames": {"minLength": 1, "maxLength": METADATA_KEY_MAX}}
    return fields.Dict(
        keys=text(METADATA_KEY_MAX, _METADATA),
        values=text(METADATA_VALUE_MAX, _METADATA, least=0),
        validate=_check_pairs,
        error_messages=errors(_METADATA),
        metadata=doc(description, **limits),
        **options,
    )


# -- requests ----------------------------------------------------------------------------------------------------------


class StrictSchema(Schema):
    """A schema that refuses what it doesn't know."""

    class Meta:
        """Options."""

        unknown = RAISE

    error_messages = {  # noqa: RUF012 - marshmallow's own declaration is an instance variable
        "unknown": UNKNOWN,
        "type": TYPE,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Posted:
    """A well-formed `POST /v1/videos`: what is asked for, and the picture where it came as a data URL."""

    request: NewVideo
    data_url: str | None


class TextSchema(StrictSchema):
    """What every new video takes, a remix too."""

    prompt = fields.String(
        required=True,
        validate=[validate.Length(1, PROMPT_MAX, error=f"expected 1 to {PROMPT_MAX:,} characters."), _check_prompt],
        error_messages=errors(f"text of 1 to {PROMPT_MAX:,} characters"),
        metadata=doc("What the video shows.", examples=["A paper boat sails across a puddle in the rain"]),
    )
    callback_url = fields.String(
        allow_none=True,
        validate=check_url,
        error_messages=errors("an absolute http:// or https:// URL"),
        metadata=doc(
            "Where the signed callback goes: a public address.",
            examples=["https://example.com/hook"], format="uri", maxLength=URL_MAX,
        ),
    )  # fmt: skip
    callback_events = fields.List(
        fields.String(
            validate=validate.OneOf(TYPES, error="expected events among: {choices}."),
            error_messages=errors("a list of event names"),
        ),
        allow_none=True,
        validate=[validate.Length(min=1, error="expected at least one event."), check_distinct],
        error_messages=errors(f"a list of events among: {', '.join(TYPES)}"),
        metadata=doc(f"Which events are called back. Left out: {', '.join(DEFAULT_TYPES)}."),
    )
    metadata = _metadata("Up to 16 text pairs of yours, echoed everywhere.", allow_none=True)


class RemixSchema(TextSchema):
    """The fields of `POST /v1/videos/{id}/remix`."""

    @post_load
    def _make(self, given: dict[str, Any], **options: object) -> NewVideo:
        del options
        return NewVideo(**_told(given))


class NewVideoSchema(TextSchema):
    """The fields of `POST /v1/videos`. A picture that is a file part is not among them."""

    model = text(
        200, "the name of a model, see GET /v1/models", allow_none=True,
        metadata=doc("Left out: the first configured model.", examples=["sora-2"]),
    )  # fmt: skip
    size = fields.String(
        allow_none=True,
        validate=_check_size,
        error_messages=errors(_SIZE),
        metadata=doc("Width x height. Left out: the model's first size.", examples=["1280x720"], pattern=_SIZE_PATTERN),
    )
    seconds = Seconds(
        allow_none=True, metadata=doc("Length of the video. Left out: the model's least length.", examples=["4"])
    )
    input_reference = ImageUrl(
        allow_none=True,
        metadata=doc(
            "The picture the video starts from: PNG, JPEG or WebP, at most 10 MB. In a multipart form, a file part. It "
            "goes upstream upright, as its EXIF says, and without metadata."
        ),
    )
    extra = fields.Dict(
        keys=text(64, "names of up to 64 characters"),
        allow_none=True,
        validate=_check_extra,
        error_messages=errors("an object of parameters"),
        metadata=doc(
            "Parameters that only some upstreams know; GET /v1/models names them.",
            examples=[{"seed": 7}], additionalProperties=True,
        ),
    )  # fmt: skip

    @post_load
    def _make(self, given: dict[str, Any], **options: object) -> Posted:
        del options
        told = _told(given)
        url = told.pop("input_reference", None)
        inline = url is not None and url[:5].lower() == "data:"
        request = NewVideo(**told, reference_url=None if inline else url)
        return Posted(request=request, data_url=url if inline else None)


def _told(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was really said; raises ValidationError for events without anywhere to tell them."""
    told = {name: value for name, value in given.items() if value is not None}
    if told.get("callback_url") is None and "callback_events" in told:
        raise ValidationError("expected a callback_url beside it.", "callback_events")
    if "callback_url" in told:
        told["callback_events"] = tuple(told.get("callback_events", DEFAULT_TYPES))
    return told


class VideoListQuery(StrictSchema):
    """The query of `GET /v1/videos`."""

    limit = fields.Integer(
        load_default=20,
        validate=validate.Range(0, PAGE_MAX, error=f"expected a number from 0 to {PAGE_MAX}."),
        error_messages={**errors(f"a number from 0 to {PAGE_MAX}"), "too_large": f"expected 0 to {PAGE_MAX}."},
        metadata=doc("How many videos a page has at most."),
    )
    after = text(100, "the id of a video", metadata=doc("The `last_id` of the page before."))
    order = fields.String(
        load_default="desc",
        validate=validate.OneOf(["asc", "desc"], error="expected one of: {choices}."),
        metadata=doc("By time of creation: `desc` is newest first."),
    )
    status = fields.String(
        validate=validate.OneOf(STATUSES, error="expected one of: {choices}."),
        metadata=doc("Only videos in this status."),
    )
    model = text(200, "the name of a model", metadata=doc("Only videos of this model."))
    metadata = _metadata("Only videos with these pairs: `metadata[order]=4711`.")

    @post_load
    def _make(self, given: dict[str, Any], **options: object) -> VideoFilter:
        del options
        return VideoFilter(newest_first=given.pop("order") == "desc", **given)
