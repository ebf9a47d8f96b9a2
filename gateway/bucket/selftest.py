"""The proof that a store keeps what it is given and signs as it should, for `gateway check`."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.bucket.port import Bucket, BucketError, ObjectMissing
from gateway.clock import Clock, wall
from gateway.outbound.errors import AnswerLost, NotSent
from gateway.outbound.session import Outbound, Reply

_SMALL = 4096
# One byte more than the smallest part that every store takes, so that a write of unknown length has two parts.
_LARGE = (8 << 20) + 1
_TTL_S = 300
_DEADLINE_S = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """One thing that was found to be so; `warning` says what is nevertheless not as it should be."""

    step: str
    warning: str | None = None


def prove(bucket: Bucket, *, outbound: Outbound, clock: Clock = wall) -> Iterator[Proof]:
    """Yield each step when it is proven; raises BucketError that begins with the step's name at the first that is not.

    Writes two objects of random bytes, 8 MiB in all, under a key of its own below the prefix, and removes them again.
    Links are fetched with `outbound` as a client would, without credentials.
    """
    trial = _Trial(bucket, outbound, clock)
    steps: list[tuple[str, Callable[[], str | None]]] = [
        ("write a small object", trial.put),
        ("read it back", trial.get),
        ("write in parts", trial.write),
        ("read the parts back", trial.read_back),
        ("read a range", trial.read_range),
        ("fetch a presigned link", trial.fetch_link),
        ("fetch a range of the link", trial.fetch_range),
        ("refuse a changed link", trial.fetch_changed),
        ("delete", trial.delete),
    ]
    try:
        for step, run in steps:
            try:
                warning = run()
            except BucketError as error:
                raise BucketError(f"{step}: {error}") from None
            yield Proof(step=step, warning=warning)
    finally:
        trial.clean_up()


class _Trial:
    """Two objects and what is asked of them. Each method raises BucketError or returns a warning."""

    def __init__(self, bucket: Bucket, outbound: Outbound, clock: Clock) -> None:
        self._bucket = bucket
        self._outbound = outbound
        self._clock = clock
        name = f"gateway-check/{secrets.token_hex(12)}"
        self._small_key, self._large_key = f"{name}.bin", f"{name}.mp4"
        self._small = secrets.token_bytes(_SMALL)
        self._large = secrets.token_bytes(_LARGE)

    def put(self) -> None:
        self._bucket.put(self._small_key, self._small, content_type="application/octet-stream")

    def get(self) -> None:
        _same(self._bucket.get(self._small_key, limit=2 * _SMALL), self._small)

    def write(self) -> None:
        at = 0

        def readinto(view: memoryview) -> int:
            nonlocal at
            piece = self._large[at : at + len(view)]
            view[: len(piece)] = piece
            at += len(piece)
            return len(piece)

        self._bucket.write(
            self._large_key,
            readinto,
            length=None,
            content_type="video/mp4",
            filename="gateway-check.mp4",
            alive=lambda: None,
        )

    def read_back(self) -> None:
        # Compared by hash while it streams: a store that changes bytes may give any number of them.
        digest = hashlib.sha256()
        with self._bucket.open(self._large_key, range_header=None) as download:
            for block in download.blocks:
                digest.update(block)
        _must(digest.digest() == hashlib.sha256(self._large).digest(), _CHANGED)

    def read_range(self) -> str | None:
        with self._bucket.open(self._small_key, range_header="bytes=10-19") as download:
            return _ranged(download.status, b"".join(download.blocks), self._small, 10)

    def fetch_link(self) -> str | None:
        reply = self._fetch(self._link(self._large_key), max_body=_LARGE + 1)
        _must(reply.status == 200, f"the link was answered with {reply.status}")
        _same(reply.body, self._large)
        kind = reply.headers.get("Content-Type", "none")
        return None if kind == "video/mp4" else f"the store gives a video's Content-Type as {kind[:40]}"

    def fetch_range(self) -> str | None:
        reply = self._fetch(self._link(self._small_key), max_body=_SMALL, headers={"Range": "bytes=10-19"})
        return _ranged(reply.status, reply.body, self._small, 10)

    def fetch_changed(self) -> str | None:
        link = self._link(self._small_key)
        reply = self._fetch(link[:-1] + ("1" if link.endswith("0") else "0"), max_body=_SMALL)
        if reply.status < 400:
            return "the store accepts a link with a wrong signature: anybody can read the bucket"
        return None

    def delete(self) -> None:
        self._bucket.delete(self._small_key)
        self._bucket.delete(self._large_key)
        with contextlib.suppress(ObjectMissing):
            self._bucket.get(self._small_key, limit=2 * _SMALL)
            raise BucketError("the object is still there")

    def clean_up(self) -> None:
        for key in (self._small_key, self._large_key):
            with contextlib.suppress(BucketError):
                self._bucket.delete(key)

    def _link(self, key: str) -> str:
        return self._bucket.link(key, now=self._clock(), ttl_s=_TTL_S, filename="gateway-check.mp4").url

    def _fetch(self, url: str, *, max_body: int, headers: dict[str, str] | None = None) -> Reply:
        try:
            return self._outbound.exchange("GET", url, deadline_s=_DEADLINE_S, max_body=max_body, headers=headers)
        except (NotSent, AnswerLost) as error:
            raise BucketError(f"the public endpoint does not answer ({error.reason})") from None


_CHANGED = "the store gives other bytes than it was given"


def _same(found: bytes, given: bytes) -> None:
    # Framing stored inside an object shows by its length and by the words of its trailer.
    framed = len(found) > len(given) and (b"chunk-signature=" in found or b"\r\nx-amz-" in found or given in found)
    _must(found == given, f"{_CHANGED} (upload framing is stored inside the object)" if framed else _CHANGED)


def _ranged(status: int, found: bytes, whole: bytes, start: int) -> str | None:
    # A film that comes whole instead still plays; it only cannot be sought in.
    _must(status in {200, 206}, f"a range was answered with {status}")
    _same(found, whole[start : start + 10] if status == 206 else whole)
    return None if status == 206 else "the store ignores ranges: players cannot seek"


def _must(true: bool, otherwise: str) -> None:  # noqa: FBT001
    if not true:
        raise BucketError(otherwise)
