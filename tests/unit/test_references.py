"""Reference pictures: fetched under the guard, bounded in time and size, and final only when that is sure."""

from __future__ import annotations

import pytest

from gateway.jobs.errors import Refusal, Unavailable
from gateway.jobs.job import Job, Reference
from gateway.outbound.errors import AnswerLost, Blocked, NotSent
from gateway.outbound.session import Reply
from gateway.worker.references import MAX_BYTES, References, Unfetched, Unusable
from tests.contracts.world import new_job
from tests.worker_remotes import Elsewhere, StreamingBucket, read_picture
from tests.worker_world import Time

URL = "https://pictures.example.com/cat.png"
PNG = b"\x89PNG\r\n\x1a\n picture"


def reply(status: int = 200, body: bytes = PNG, *, truncated: bool = False, **headers: str) -> Reply:
    return Reply(status=status, headers=headers, body=body, truncated=truncated, elapsed_s=0.1, peer="93.184.216.34")


class Fetched:
    """One reference, and what stands between it and its picture."""

    def __init__(self) -> None:
        self.bucket = StreamingBucket()
        self.elsewhere = Elsewhere()
        self.time = Time()
        self.references = References(bucket=self.bucket, fetch=self.elsewhere, read=read_picture, monotonic=self.time)

    def image(self, reference: Reference | None, **fields: int) -> bytes | None:
        job: Job = new_job(reference=reference, **fields)
        image = self.references.image(job)
        return image.data if image else None

    def remote(self, **fields: int) -> bytes | None:
        return self.image(Reference(url=URL), **fields)


@pytest.fixture
def fetched() -> Fetched:
    return Fetched()


def test_a_job_without_a_reference_has_no_picture(fetched: Fetched) -> None:
    assert fetched.image(None) is None


def test_a_kept_picture_comes_from_the_bucket(fetched: Fetched) -> None:
    fetched.bucket.objects["k"] = PNG
    assert fetched.image(Reference(object_key="k", content_type="image/png")) == PNG


def test_a_bucket_that_is_down_is_waited_for_however_often(fetched: Fetched) -> None:
    fetched.bucket.down = True
    with pytest.raises(Unfetched) as caught:
        fetched.image(Reference(object_key="k"), tries=50, missing=50)
    assert not caught.value.counts


def test_a_kept_picture_that_is_gone_is_unusable(fetched: Fetched) -> None:
    with pytest.raises(Unusable):
        fetched.image(Reference(object_key="k"))


def test_a_remote_picture_is_fetched_and_its_type_is_what_it_is(fetched: Fetched) -> None:
    fetched.elsewhere.replies[URL] = reply()
    image = fetched.references.image(new_job(reference=Reference(url=URL)))
    assert image is not None
    assert (image.data, image.content_type) == (PNG, "image/png")


def test_a_redirect_is_followed_under_the_same_guard(fetched: Fetched) -> None:
    fetched.elsewhere.replies = {
        URL: reply(302, location="/moved.png"),
        "https://pictures.example.com/moved.png": reply(307, location="http://127.0.0.1/admin"),
        "http://127.0.0.1/admin": Blocked("loopback"),
    }
    with pytest.raises(Unusable, match="public"):
        fetched.remote()
    assert fetched.elsewhere.fetched[-1] == "http://127.0.0.1/admin"


def test_redirects_share_one_deadline(fetched: Fetched) -> None:
    def slow(url: str, *, deadline_s: float, max_body: int) -> Reply:
        fetched.elsewhere.deadlines.append(deadline_s)
        fetched.time.on(12)
        return reply(302, location=URL)

    slowly = References(bucket=fetched.bucket, fetch=slow, read=read_picture, monotonic=fetched.time)
    with pytest.raises(Unfetched):
        slowly.image(new_job(reference=Reference(url=URL)))
    assert fetched.elsewhere.deadlines == [30, 18, 6]


@pytest.mark.parametrize("location", ["", "http://[broken"])
def test_a_redirect_to_nowhere_is_unusable(fetched: Fetched, location: str) -> None:
    fetched.elsewhere.replies[URL] = reply(302, **({"location": location} if location else {}))
    with pytest.raises(Unusable, match="nowhere"):
        fetched.remote()


def test_an_endless_redirect_is_unusable(fetched: Fetched) -> None:
    fetched.elsewhere.replies[URL] = reply(302, location=URL)
    with pytest.raises(Unusable, match="too often"):
        fetched.remote()
    assert len(fetched.elsewhere.fetched) == 4


@pytest.mark.parametrize(
    "found",
    [NotSent("dns"), AnswerLost("timeout"), reply(500), reply(503), reply(429), reply(408)],
)
def test_a_hiccup_is_tried_again_a_few_times_and_only_those_count(fetched: Fetched, found: Reply | Exception) -> None:
    fetched.elsewhere.replies[URL] = found
    with pytest.raises(Unfetched) as caught:
        fetched.remote(missing=2, tries=90)
    assert caught.value.counts
    with pytest.raises(Unusable):
        fetched.remote(missing=3)


@pytest.mark.parametrize("status", [204, 400, 403, 404, 410])
def test_an_answer_without_a_picture_is_unusable(fetched: Fetched, status: int) -> None:
    fetched.elsewhere.replies[URL] = reply(status)
    with pytest.raises(Unusable, match=str(status)):
        fetched.remote()


@pytest.mark.parametrize("found", [reply(body=PNG + b"." * MAX_BYTES), reply(truncated=True)])
def test_a_picture_that_is_too_large_is_unusable(fetched: Fetched, found: Reply) -> None:
    fetched.elsewhere.replies[URL] = found
    with pytest.raises(Unusable, match="larger"):
        fetched.remote()


def test_what_is_no_picture_is_unusable(fetched: Fetched) -> None:
    fetched.elsewhere.replies[URL] = reply(body=b"<html>")
    with pytest.raises(Unusable, match="PNG"):
        fetched.remote()


@pytest.mark.parametrize(("error", "expected"), [(Unavailable, Unfetched), (Refusal, Unusable)])
def test_a_reader_that_is_busy_is_not_the_pictures_fault(
    fetched: Fetched, error: type[Refusal], expected: type[Exception]
) -> None:
    def refuses(data: bytes) -> str:
        raise error("busy", code="x")

    fetched.elsewhere.replies[URL] = reply()
    busy = References(bucket=fetched.bucket, fetch=fetched.elsewhere, read=refuses, monotonic=fetched.time)
    with pytest.raises(expected):
        busy.image(new_job(reference=Reference(url=URL)))
