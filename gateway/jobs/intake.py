"""Accepting a video: the request is checked against what is served, its picture is kept, and a job is put down."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from gateway.jobs.catalogue import Catalogue, Choice, Offer
from gateway.jobs.errors import InvalidField, KeyReused, QueueFull
from gateway.jobs.finished import stored_of
from gateway.jobs.job import SUFFIXES, Job, Reference, Status, new_id
from gateway.jobs.ports import Acceptance, Caller, Inbox, Ledger
from gateway.jobs.remixing import as_remix, remix_choice

REFERENCE_GRACE_S = 3600.0
"""For how long a picture may lie in the bucket without a job that names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewVideo:
    """What a request asks for, well formed, not yet checked against what is served. None: the request left it out."""

    prompt: str
    model: str | None = None
    size: str | None = None
    seconds: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)
    callback_url: str | None = None
    callback_events: Sequence[str] = ()
    reference_url: str | None = None
    """Where the worker is to fetch the picture from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceImage:
    """A picture that was really decoded, upright and without metadata, as it goes upstream."""

    data: bytes = field(repr=False)
    content_type: str
    """`image/png`, `image/jpeg` or `image/webp`."""
    width: int
    height: int
    sent_sha256: str
    """The hash in hex of the file that the client sent, which tells whether two requests are equal."""

    @property
    def sha256(self) -> str:
        """The picture's hash in hex."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def dimensions(self) -> str:
        """Its width and height, spelt as a video's size."""
        return f"{self.width}x{self.height}"


class PictureStore(Protocol):
    """The one thing that accepting asks of the bucket."""

    def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Write a small object at once; raises what the bucket raises."""


def object_folder(client: str, job_id: str, created_at: float) -> str:
    """Return the folder of a job's objects: `client/yyyy/mm/dd/job id`, with a client name that no store minds."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "-", client)[:40]
    if safe != client:
        # Two names that look alike once cleaned must not share a folder.
        safe = f"{safe}-{hashlib.sha256(client.encode()).hexdigest()[:8]}"
    return f"{safe}/{datetime.fromtimestamp(created_at, UTC):%Y/%m/%d}/{job_id}"


def request_hash(request: NewVideo, image: ReferenceImage | None, *, remix_of: str | None = None) -> str:
    """Return the hash of what was asked for: equal for JSON and form, whatever the order of the fields."""
    fields = {name: getattr(request, name) for name in NewVideo.__slots__}
    asked = [fields, image.sent_sha256 if image else None, *([] if remix_of is None else [remix_of])]
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


class Repeat(NamedTuple):
    """By what a repeated request is known."""

    request_hash: str
    key: str | None
    sdk_retry: int


class Intake:
    """The use case of accepting. Safe from many threads."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        inbox: Inbox,
        ledger: Ledger,
        pictures: PictureStore,
        max_unfinished: int,
        has_secret: Callable[[str], bool],
        target_refusal: Callable[[str], str | None],
    ) -> None:
        self._catalogue = catalogue
        self._inbox = inbox
        self._ledger = ledger
        self._pictures = pictures
        self._max_unfinished = max_unfinished
        self._has_secret = has_secret
        self._target_refusal = target_refusal

    def accept(
        self,
        caller: Caller,
        request: NewVideo,
        image: ReferenceImage | None,
        *,
        idempotency_key: str | None,
        sdk_retry: int,
        now: float,
    ) -> Acceptance:
        """Put down a queued job, or find the one that an equal request made. `now`: the database's clock.

        Raises InvalidField, KeyReused, QueueFull, Unavailable, and what the bucket raises; then nothing is kept.
        """
        repeat = Repeat(request_hash(request, image), idempotency_key, sdk_retry)
        earlier = self._earlier(caller, repeat, now)
        if earlier is not None:
            return earlier
        choice = self._checked(caller, request, image, now)
        job = _job(caller, request, choice, now)
        if image is not None:
            job = replace(job, reference=self._kept(job, image, now))
        return self._put_down(job, repeat, now)

    def remix(
        self,
        caller: Caller,
        request: NewVideo,
        source_id: str,
        find: Callable[[], Job],
        *,
        idempotency_key: str | None,
        sdk_retry: int,
        now: float,
    ) -> Acceptance:
        """Put down a remix of the client's finished video that `find` returns, as `accept` does for a new one.

        Raises what `find` raises, Conflict or Gone where it has no content, and what `accept` raises.
        """
        repeat = Repeat(request_hash(request, None, remix_of=source_id), idempotency_key, sdk_retry)
        earlier = self._earlier(caller, repeat, now)
        if earlier is not None:
            return earlier
        source = find()
        stored_of(source)
        choice = remix_choice(self._catalogue, source, now=now)
        _taking_prompt(choice.offers, request.prompt)
        if request.callback_url is not None:
            self._check_callback(caller.client, request.callback_url)
        return self._put_down(as_remix(_job(caller, request, choice, now), source), repeat, now)

    def _earlier(self, caller: Caller, repeat: Repeat, now: float) -> Acceptance | None:
        if repeat.key is None:
            return None
        # Before every check: a repeat is answered even if the callback's host or the model is gone by now.
        hashed = repeat.request_hash
        job = self._inbox.replay(caller.client, request_hash=hashed, idempotency_key=repeat.key, now=now)
        return Acceptance(job=job, replayed=True) if job is not None else None

    def _put_down(self, job: Job, repeat: Repeat, now: float) -> Acceptance:
        try:
            accepted = self._inbox.accept(
                job,
                request_hash=repeat.request_hash,
                idempotency_key=repeat.key,
                sdk_retry=repeat.sdk_retry if repeat.key is None else 0,
                max_unfinished=self._max_unfinished,
                now=now,
            )
        except (KeyReused, QueueFull):
            # Only where it is sure that no job was written: after a lost connection the picture is left to its grace.
            self._drop_picture(job, now)
            raise
        if accepted.replayed:
            self._drop_picture(job, now)
        return accepted

    def _drop_picture(self, job: Job, now: float) -> None:
        if job.reference is not None and job.reference.object_key:
            self._ledger.discard(job.reference.object_key, now=now)

    def _checked(self, caller: Caller, request: NewVideo, image: ReferenceImage | None, now: float) -> Choice:
        if not self._catalogue.models:
            raise InvalidField("model", "No model is configured on this gateway.", code="model_not_found")
        choice = self._catalogue.choose(model=request.model, size=request.size, seconds=request.seconds, now=now)
        choice = replace(choice, offers=_taking(choice, request, image))
        if request.callback_url is not None:
            self._check_callback(caller.client, request.callback_url)
        if request.reference_url is not None:
            refusal = self._target_refusal(request.reference_url)
            if refusal is not None:
                raise InvalidField("input_reference", f"The picture's URL is refused: {refusal}")
        return choice

    def _check_callback(self, client: str, url: str) -> None:
        if not self._has_secret(client):
            message = "No webhook secret is set for this client, so callbacks can't be signed: GATEWAY_WEBHOOK_SECRET."
            raise InvalidField("callback_url", message, code="webhook_secret_missing")
        refusal = self._target_refusal(url)
        if refusal is not None:
            raise InvalidField("callback_url", f"The callback URL is refused: {refusal}")

    def _kept(self, job: Job, image: ReferenceImage, now: float) -> Reference:
        key = f"{object_folder(job.client, job.id, job.created_at)}/reference.{SUFFIXES[image.content_type]}"
        self._ledger.begin(key, until=now + REFERENCE_GRACE_S, now=now)
        try:
            self._pictures.put(key, image.data, content_type=image.content_type)
        except Exception:
            self._ledger.discard(key, now=now)
            raise
        return Reference(
            content_type=image.content_type,
            sha256=image.sha256,
            size=len(image.data),
            object_key=key,
            dimensions=image.dimensions,
        )


def _taking(choice: Choice, request: NewVideo, image: ReferenceImage | None) -> Sequence[Offer]:
    """Return the upstreams that take all of the request; raises InvalidField where there is none."""
    offers = _taking_prompt(choice.offers, request.prompt)
    offers = _taking_extra(offers, request.extra)
    return offers if image is None else _taking_image(offers, image, choice.size)


def _taking_image(offers: Sequence[Offer], image: ReferenceImage, size: str) -> Sequence[Offer]:
    taking = [offer for offer in offers if offer.takes_picture(image.dimensions, size)]
    if not taking:
        message = f"The picture is {image.dimensions}, and must be exactly as large as the video: {size}."
        raise InvalidField("input_reference", message, code="invalid_image_size")
    return taking


def _taking_prompt(offers: Sequence[Offer], prompt: str) -> Sequence[Offer]:
    taking = [offer for offer in offers if len(prompt) <= offer.prompt_max]
    if not taking:
        longest = max(offer.prompt_max for offer in offers)
        message = f"The prompt has {len(prompt)} characters; at most {longest} are allowed for this model."
        raise InvalidField("prompt", message, code="string_above_max_length")
    return taking


def _taking_extra(offers: Sequence[Offer], extra: Mapping[str, object]) -> Sequence[Offer]:
    taking = [offer for offer in offers if set(extra) <= set(offer.extra)]
    if not taking:
        allowed = sorted({name for offer in offers for name in offer.extra})
        unknown = [name[:64] for name in extra if name not in allowed]
        what = (
            f"'{unknown[0]}' is not taken by this model" if unknown else "No upstream of this model takes all of these"
        )
        names = ", ".join(allowed) or "nothing"
        raise InvalidField("extra", f"{what}. Allowed in extra: {names}.", code="unknown_parameter")
    return taking


def _job(caller: Caller, request: NewVideo, choice: Choice, now: float) -> Job:
    return Job(
        id=new_id("video", now),
        client=caller.client,
        status=Status.QUEUED,
        version=1,
        model=choice.model,
        size=choice.size,
        seconds=choice.seconds,
        created_at=now,
        due_at=now,
        routes=tuple(dict.fromkeys(offer.upstream for offer in choice.offers)),
        prompt=request.prompt,
        metadata=dict(request.metadata),
        extra=dict(request.extra),
        callback_url=request.callback_url,
        callback_events=tuple(request.callback_events) if request.callback_url is not None else (),
        reference=Reference(url=request.reference_url) if request.reference_url is not None else None,
    )
