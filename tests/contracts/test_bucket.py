"""What every store must do behind the bucket port, on SeaweedFS and on moto."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from gateway.bucket import upload
from gateway.bucket.port import Bucket, BucketError, ObjectMissing, Written
from gateway.outbound.session import Outbound, Reply
from tests.s3 import Store, moto_server, plain_outbound, weed_server

MIB = 1 << 20
DAY = 86400


@pytest.fixture(scope="module")
def outbound() -> Iterator[Outbound]:
    with plain_outbound() as session:
        yield session


@pytest.fixture(scope="module")
def weed() -> Iterator[Store]:
    with weed_server() as store:
        yield store


@pytest.fixture(scope="module")
def moto() -> Iterator[Store]:
    with moto_server() as store:
        yield store


@pytest.fixture(params=["weed", "moto"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def bucket(store: Store, outbound: Outbound) -> Bucket:
    return store.open_bucket(outbound, prefix="gw")


@pytest.fixture
def strict_bucket(weed: Store, outbound: Outbound) -> Bucket:
    return weed.open_bucket(outbound, prefix="gw")


@pytest.fixture
def parts_above_10_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MOST_IN_ONE_PUT", 10 * MIB)


def content(size: int) -> bytes:
    """Return bytes in which no two blocks are alike."""
    return b"".join(hashlib.sha256(n.to_bytes(8)).digest() * 128 for n in range(-(-size // 4096)))[:size]


def reader(data: bytes, *, most: int = 300_000, then: BaseException | None = None) -> Callable[[memoryview], int]:
    """Return a `readinto` over `data` that gives odd-sized pieces and at the end raises `then`, if any."""
    at = 0

    def readinto(view: memoryview) -> int:
        nonlocal at
        if at == len(data) and then is not None:
            raise then
        piece = data[at : at + min(len(view), most)]
        view[: len(piece)] = piece
        at += len(piece)
        return len(piece)

    return readinto


def write(bucket: Bucket, key: str, data: bytes, *, length: int | None, then: BaseException | None = None) -> Written:
    return bucket.write(
        key,
        reader(data, then=then),
        length=length,
        content_type="video/mp4",
        filename="a film.mp4",
        alive=lambda: None,
    )


def fetch(outbound: Outbound, url: str, **headers: str) -> Reply:
    return outbound.exchange("GET", url, deadline_s=10, max_body=MIB, headers=headers)


def left_behind(store: Store) -> list[str]:
    """Return the keys of all objects and unfinished uploads in the store."""
    client = store.client()
    objects = client.list_objects_v2(Bucket=store.bucket).get("Contents", ())
    uploads = client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", ())
    return [found["Key"] for found in (*objects, *uploads)]


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1, 20 * MIB], ids=lambda size: f"{size}B")
def test_an_object_comes_back_as_it_was_written_when_its_length_is_known_or_not(
    bucket: Bucket, size: int, known: bool
) -> None:
    data = content(size)
    written = write(bucket, "round/trip.mp4", data, length=size if known else None)
    assert written == Written(size=size, sha256=hashlib.sha256(data).hexdigest())
    assert bucket.get("round/trip.mp4", limit=size) == data
    bucket.delete("round/trip.mp4")


def test_a_large_object_of_known_length_goes_up_in_parts(bucket: Bucket, store: Store) -> None:
    data = content(66 * MIB)
    assert write(bucket, "large.mp4", data, length=len(data)).sha256 == hashlib.sha256(data).hexdigest()
    head = store.client().head_object(Bucket=store.bucket, Key="gw/large.mp4")
    assert head["ETag"].strip('"').endswith("-9")
    with bucket.open("large.mp4", range_header=None) as download:
        digest = hashlib.sha256()
        for block in download.blocks:
            digest.update(block)
    assert digest.digest() == hashlib.sha256(data).digest()
    bucket.delete("large.mp4")


@pytest.mark.parametrize("length", [9 * MIB, 20 * MIB], ids=["one-put", "parts"])
@pytest.mark.parametrize("gap", [-1, 1, 3 * MIB])
def test_nothing_is_left_when_the_source_gives_another_length_than_it_named(
    bucket: Bucket, store: Store, parts_above_10_mib: None, length: int, gap: int
) -> None:
    with pytest.raises(BucketError, match="source"):
        write(bucket, "wrong.mp4", content(length + gap), length=length)
    assert left_behind(store) == []


@pytest.mark.parametrize("length", [9 * MIB, 20 * MIB, None], ids=["one-put", "parts", "unknown"])
@pytest.mark.parametrize("error", [RuntimeError("cut off"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_the_source_s_own_error_passes_through_and_nothing_is_left(
    bucket: Bucket, store: Store, parts_above_10_mib: None, length: int | None, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised:
        write(bucket, "cut.mp4", content(8 * MIB + 500_000), length=length, then=error)
    assert raised.value is error
    assert left_behind(store) == []


@pytest.mark.parametrize("length", [20 * MIB, None], ids=["known", "unknown"])
def test_a_write_is_given_up_when_alive_says_so(bucket: Bucket, store: Store, length: int | None) -> None:
    calls = []

    def alive() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError("lease lost")

    data = content(20 * MIB)
    with pytest.raises(InterruptedError, match="lease lost"):
        bucket.write("stop.mp4", reader(data), length=length, content_type="video/mp4", filename="f.mp4", alive=alive)
    assert left_behind(store) == []


def test_small_objects_come_back_and_go(bucket: Bucket) -> None:
    bucket.put("small/ref.png", b"picture", content_type="image/png")
    assert bucket.get("small/ref.png", limit=7) == b"picture"
    with bucket.open("small/ref.png", range_header=None) as download:
        assert download.headers["content-type"] == "image/png"
    bucket.delete("small/ref.png")
    with pytest.raises(ObjectMissing):
        bucket.get("small/ref.png", limit=7)


def test_get_refuses_an_object_above_the_limit(bucket: Bucket) -> None:
    bucket.put("small/ref.png", b"picture", content_type="image/png")
    with pytest.raises(BucketError, match="larger than 6 bytes"):
        bucket.get("small/ref.png", limit=6)
    bucket.delete("small/ref.png")


def test_open_passes_a_range_through_and_the_store_s_own_refusal(bucket: Bucket) -> None:
    bucket.put("range.bin", b"0123456789", content_type="application/octet-stream")
    with bucket.open("range.bin", range_header="bytes=2-4") as part:
        assert (part.status, b"".join(part.blocks)) == (206, b"234")
        assert part.headers["content-range"] == "bytes 2-4/10"
    with bucket.open("range.bin", range_header="bytes=50-") as beyond:
        assert (beyond.status, b"".join(beyond.blocks)) == (416, b"")
    bucket.delete("range.bin")


def test_open_raises_object_missing_when_there_is_none(bucket: Bucket) -> None:
    with pytest.raises(ObjectMissing), bucket.open("nothing", range_header=None):
        pytest.fail("opened")


def test_delete_takes_the_unfinished_uploads_of_exactly_its_key(bucket: Bucket, store: Store) -> None:
    client = store.client()
    for key in ("gw/a.mp4", "gw/a.mp4", "gw/a.mp4.other"):
        client.create_multipart_upload(Bucket=store.bucket, Key=key)
    bucket.delete("a.mp4")
    assert left_behind(store) == ["gw/a.mp4.other"]
    bucket.delete("a.mp4.other")
    assert left_behind(store) == []


def test_delete_is_content_when_there_is_nothing(bucket: Bucket) -> None:
    bucket.delete("never/was.mp4")
    with pytest.raises(ObjectMissing):
        bucket.get("never/was.mp4", limit=1)


def test_a_link_plays_in_place_with_ranges_and_its_name(bucket: Bucket, outbound: Outbound) -> None:
    write(bucket, "play.mp4", content(100_000), length=100_000)
    link = bucket.link("play.mp4", now=time.time(), ttl_s=60, filename="Überfahrt.mp4")
    whole = fetch(outbound, link.url)
    assert (whole.status, whole.body) == (200, content(100_000))
    assert whole.headers["Content-Type"] == "video/mp4"
    assert whole.headers["Content-Disposition"] == (
        "inline; filename=\"_berfahrt.mp4\"; filename*=UTF-8''%C3%9Cberfahrt.mp4"
    )
    part = fetch(outbound, link.url, Range="bytes=99990-")
    assert (part.status, part.body) == (206, content(100_000)[99990:])
    bucket.delete("play.mp4")


@pytest.mark.parametrize("length", [20 * MIB, None], ids=["one-put", "parts"])
def test_the_object_itself_carries_its_type_and_name(bucket: Bucket, store: Store, length: int | None) -> None:
    write(bucket, "label.mp4", content(20 * MIB), length=length)
    head = store.client().head_object(Bucket=store.bucket, Key="gw/label.mp4")
    assert (head["ContentType"], head["ContentDisposition"]) == ("video/mp4", 'inline; filename="a film.mp4"')
    bucket.delete("label.mp4")


def test_keys_of_any_letters_are_signed_right(strict_bucket: Bucket, outbound: Outbound) -> None:
    key = "client ü+&=%41~/(1) 'x'!*.mp4"
    write(strict_bucket, key, b"film", length=4)
    link = strict_bucket.link(key, now=time.time(), ttl_s=60, filename=key)
    assert fetch(outbound, link.url).body == b"film"
    strict_bucket.delete(key)


def test_a_link_is_refused_when_it_was_changed_or_has_expired(strict_bucket: Bucket, outbound: Outbound) -> None:
    strict_bucket.put("secret.mp4", b"film", content_type="video/mp4")
    now = time.time()
    link = strict_bucket.link("secret.mp4", now=now, ttl_s=60, filename="f.mp4")
    old = strict_bucket.link("secret.mp4", now=now - 120, ttl_s=60, filename="f.mp4")
    bare = urlsplit(link.url)._replace(query="").geturl()
    assert fetch(outbound, link.url).status == 200
    assert fetch(outbound, link.url[:-1] + ("0" if link.url[-1] != "0" else "1")).status == 403
    assert fetch(outbound, link.url.replace("secret.mp4", "other.mp4")).status == 403
    assert fetch(outbound, link.url.replace("Expires=60", "Expires=61")).status == 403
    assert fetch(outbound, old.url).status == 403
    assert fetch(outbound, bare).status == 403
    strict_bucket.delete("secret.mp4")


def test_a_link_lives_seven_days_at_most(strict_bucket: Bucket, outbound: Outbound) -> None:
    strict_bucket.put("week.mp4", b"film", content_type="video/mp4")
    now = time.time()
    link = strict_bucket.link("week.mp4", now=now, ttl_s=400 * DAY, filename="f.mp4")
    assert link.expires_at == int(now) + 7 * DAY
    assert fetch(outbound, link.url).status == 200
    strict_bucket.delete("week.mp4")


def test_links_name_the_public_endpoint_and_uploads_do_not(weed: Store, outbound: Outbound) -> None:
    bucket = weed.open_bucket(outbound, public_endpoint_url="https://media.example.com")
    write(bucket, "pub.mp4", b"film", length=4)
    link = bucket.link("pub.mp4", now=time.time(), ttl_s=60, filename="f.mp4")
    assert link.url.startswith("https://media.example.com/videos/pub.mp4?")
    bucket.delete("pub.mp4")


@pytest.mark.parametrize(
    "wrong", [{"bucket": "no-such-bucket"}, {"endpoint_url": "http://127.0.0.1:1"}], ids=["bucket", "endpoint"]
)
def test_errors_name_the_trouble_and_no_secret(weed: Store, outbound: Outbound, wrong: dict[str, str]) -> None:
    bucket = weed.open_bucket(outbound, **wrong)
    attempts: list[Callable[[], object]] = [
        lambda: bucket.put("k", b"x", content_type="text/plain"),
        lambda: bucket.get("k", limit=1),
        lambda: write(bucket, "k", b"x", length=1),
        lambda: write(bucket, "k", content(9 * MIB), length=None),
        lambda: bucket.delete("k"),
    ]
    for attempt in attempts:
        with pytest.raises(BucketError) as raised:
            attempt()
        assert type(raised.value) is BucketError
        assert len(str(raised.value)) < 120
        assert not any(word in str(raised.value) for word in ("http", "Signature", weed.access_key, weed.secret_key))
