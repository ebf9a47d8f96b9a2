"""Stores that spoil, lose or refuse: what the bucket and its self-test make of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import boto3
import pytest

from gateway.bucket.port import Bucket, BucketError
from gateway.bucket.s3 import S3Bucket
from gateway.bucket.selftest import Proof, prove
from gateway.outbound.session import Outbound
from tests.s3 import Store, moto_server, plain_outbound, weed_server
from tests.s3_proxy import Meddler, Message, proxy_before
from tests.servers import RawServer, answering

MIB = 1 << 20


@pytest.fixture(scope="module")
def outbound() -> Iterator[Outbound]:
    with plain_outbound() as session:
        yield session


@pytest.fixture(scope="module")
def weed() -> Iterator[Store]:
    with weed_server() as store:
        yield store


def left_behind(store: Store) -> list[str]:
    client = store.client()
    objects = client.list_objects_v2(Bucket=store.bucket).get("Contents", ())
    uploads = client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", ())
    return [found["Key"] for found in (*objects, *uploads)]


def self_test(
    store: Store, outbound: Outbound, *, request: Meddler | None = None, answer: Meddler | None = None
) -> list[Proof]:
    with proxy_before(store.endpoint_url, request=request, answer=answer) as proxy:
        bucket = store.open_bucket(outbound, endpoint_url=proxy.endpoint_url)
        return list(prove(bucket, outbound=outbound))


def flip_a_byte(answer: Message) -> None:
    if answer.method == "GET" and answer.status == 200:
        answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])


def keep_the_framing(request: Message) -> None:
    """Store what a client that sends aws-chunked would, as some stores did."""
    if request.method == "PUT":
        size = f"{len(request.body):x}\r\n".encode()
        request.body = size + request.body + b"\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"


def turn_ranges_round(answer: Message) -> None:
    """Answer a range with the wrong bytes, as some stores do for a suffix."""
    if answer.status == 206:
        answer.body = answer.body[::-1]


def lie_about_the_type(answer: Message) -> None:
    if answer.method == "GET":
        answer.headers["content-type"] = "text/html"


def test_the_self_test_finds_nothing_wrong_with_a_good_store(weed: Store, outbound: Outbound) -> None:
    proofs = list(prove(weed.open_bucket(outbound, prefix="p"), outbound=outbound))
    assert [proof.step for proof in proofs] == [
        "write a small object",
        "read it back",
        "write in parts",
        "read the parts back",
        "read a range",
        "fetch a presigned link",
        "fetch a range of the link",
        "refuse a changed link",
        "delete",
    ]
    assert [proof.warning for proof in proofs if proof.warning] == []
    assert left_behind(weed) == []


def test_the_self_test_warns_of_a_store_that_checks_no_signature(outbound: Outbound) -> None:
    with moto_server() as store:
        warnings = [proof for proof in prove(store.open_bucket(outbound), outbound=outbound) if proof.warning]
    assert [proof.step for proof in warnings] == ["refuse a changed link"]


def test_the_self_test_warns_of_a_store_that_changes_the_type(weed: Store, outbound: Outbound) -> None:
    warnings = [proof.warning for proof in self_test(weed, outbound, answer=lie_about_the_type)]
    assert "the store gives a video's Content-Type as text/html" in warnings


def test_the_self_test_refuses_a_store_that_changes_bytes(weed: Store, outbound: Outbound) -> None:
    with pytest.raises(BucketError, match=r"^read it back: the store gives other bytes than it was given$"):
        self_test(weed, outbound, answer=flip_a_byte)
    assert left_behind(weed) == []


def test_the_self_test_refuses_a_store_that_keeps_upload_framing(weed: Store, outbound: Outbound) -> None:
    with pytest.raises(BucketError, match=r"^read it back: .*framing is stored inside the object"):
        self_test(weed, outbound, request=keep_the_framing)
    assert left_behind(weed) == []


def test_the_self_test_refuses_a_store_that_answers_ranges_wrong(weed: Store, outbound: Outbound) -> None:
    with pytest.raises(BucketError, match=r"^read a range: the store gives other bytes"):
        self_test(weed, outbound, answer=turn_ranges_round)
    assert left_behind(weed) == []


def test_the_self_test_refuses_links_that_lead_nowhere(weed: Store, outbound: Outbound) -> None:
    bucket = weed.open_bucket(outbound, public_endpoint_url="http://127.0.0.1:1")
    with pytest.raises(BucketError, match=r"^fetch a presigned link: the public endpoint does not answer"):
        list(prove(bucket, outbound=outbound))
    assert left_behind(weed) == []


@pytest.mark.parametrize("length", [3 * MIB, None], ids=["one-put", "parts"])
def test_no_checksum_or_framing_header_is_sent_to_a_custom_endpoint(
    weed: Store, outbound: Outbound, length: int | None
) -> None:
    with proxy_before(weed.endpoint_url) as proxy:
        bucket = weed.open_bucket(outbound, endpoint_url=proxy.endpoint_url)
        bucket.put("plain.bin", b"x", content_type="text/plain")
        bucket.get("plain.bin", limit=1)
        write(bucket, length or 9 * MIB, length=length)
        bucket.delete("plain.bin")
        bucket.delete("film.mp4")
    sent = {name for message in proxy.seen for name in message.headers}
    assert {message.method for message in proxy.seen} >= {"PUT", "GET", "HEAD", "DELETE"}
    assert not [name for name in sent if "checksum" in name or name in {"x-amz-trailer", "transfer-encoding"}]
    assert not [message for message in proxy.seen if "aws-chunked" in message.headers.get("content-encoding", "")]
    assert not [message for message in proxy.seen if "checksum" in message.query.lower()]


def test_a_small_object_is_put_in_one_attempt(outbound: Outbound) -> None:
    with RawServer(answering(503)) as server:
        bucket = S3Bucket(
            bucket="videos", outbound=outbound, endpoint_url=server.url, session=boto3.Session("AK", "SK")
        )
        with pytest.raises(BucketError, match=r"^put: the store answered 503"):
            bucket.put("picture.png", b"x", content_type="image/png")
        assert server.requests.qsize() == 1


def write(bucket: Bucket, size: int, *, length: int | None) -> None:
    left = size

    def readinto(view: memoryview) -> int:
        nonlocal left
        count = min(left, len(view))
        view[:count] = os.urandom(count)
        left -= count
        return count

    bucket.write("film.mp4", readinto, length=length, content_type="video/mp4", filename="film.mp4", alive=lambda: None)


def test_nothing_is_left_when_the_store_refuses_a_part(weed: Store, outbound: Outbound) -> None:
    def refuse(answer: Message) -> None:
        if "partNumber=2" in answer.query:
            answer.status = 503
            answer.body = b"<Error><Code>SlowDown</Code></Error>"
            answer.headers["content-length"] = str(len(answer.body))

    with proxy_before(weed.endpoint_url, answer=refuse) as proxy:
        bucket = weed.open_bucket(outbound, endpoint_url=proxy.endpoint_url)
        with pytest.raises(BucketError, match=r"^write part 2: the store answered 503 SlowDown$"):
            write(bucket, 20 * MIB, length=None)
    assert left_behind(weed) == []


def test_nothing_is_left_when_the_answer_to_the_whole_put_is_lost(weed: Store, outbound: Outbound) -> None:
    def lose(answer: Message) -> None:
        if answer.method == "PUT":
            # More announced than sent: the connection ends before the answer does.
            answer.headers["content-length"] = "1000"

    with proxy_before(weed.endpoint_url, answer=lose) as proxy:
        bucket = weed.open_bucket(outbound, endpoint_url=proxy.endpoint_url)
        with pytest.raises(BucketError, match=r"^write: no answer \(short\)$"):
            write(bucket, MIB, length=MIB)
    assert left_behind(weed) == []


def test_an_object_of_another_size_than_was_sent_is_refused_and_removed(weed: Store, outbound: Outbound) -> None:
    def shorten(request: Message) -> None:
        if request.method == "PUT":
            request.body = request.body[:-1]

    with proxy_before(weed.endpoint_url, request=shorten) as proxy:
        bucket = weed.open_bucket(outbound, endpoint_url=proxy.endpoint_url)
        with pytest.raises(BucketError, match=r"^verify: 1048576 bytes were written, the store has 1048575$"):
            write(bucket, MIB, length=MIB)
    assert left_behind(weed) == []
