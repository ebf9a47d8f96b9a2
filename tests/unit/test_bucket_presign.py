"""Presigned URLs against AWS's published example and against botocore's own signer."""

from __future__ import annotations

import datetime as dt
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from gateway.bucket.access import object_url
from gateway.bucket.port import BucketError
from gateway.bucket.presign import Life, SigningKey, life, presign

# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
EXAMPLE_KEY = SigningKey(
    access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region="us-east-1"
)
EXAMPLE_TIME = 1369353600
DAY = 86400
NOW = 1_795_000_000.7


def temporary(expires_at: float) -> SigningKey:
    return SigningKey(access_key="AK", secret_key="SK", token="a/token+=", region="eu-west-1", expires_at=expires_at)


def test_aws_s_published_example_is_signed_as_published() -> None:
    url = presign(
        "GET",
        "https://examplebucket.s3.amazonaws.com/test.txt",
        key=EXAMPLE_KEY,
        life=Life(starts_at=EXAMPLE_TIME, seconds=DAY),
    )
    assert parse_qs(urlsplit(url).query)["X-Amz-Signature"] == [
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    ]


@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    host=st.sampled_from(
        ["http://127.0.0.1:9000", "https://s3.example.com:443", "https://b.s3.eu-west-1.amazonaws.com"]
    ),
    token=st.sampled_from([None, "tok/en+=="]),
)
def test_the_signature_is_the_one_that_botocore_makes(name: str, host: str, token: str | None) -> None:
    key = SigningKey(access_key="AK", secret_key="SK", token=token, region="eu-west-1")
    url = object_url(f"{host}/videos/", name)
    query = {"response-content-disposition": f'inline; filename="{name}"', "partNumber": "3"}
    ours = presign("PUT", url, key=key, life=Life(starts_at=EXAMPLE_TIME, seconds=60), query=query)
    with pytest.MonkeyPatch.context() as patch:
        at = dt.datetime.fromtimestamp(EXAMPLE_TIME, dt.UTC)
        patch.setattr(botocore.auth, "get_current_datetime", lambda: at)
        request = AWSRequest(method="PUT", url=url, params=query)
        signer = botocore.auth.S3SigV4QueryAuth(Credentials("AK", "SK", token), "s3", "eu-west-1", expires=60)
        signer.add_auth(request)
    assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(request.url).query)


def test_headers_are_signed_whatever_their_case_and_spaces() -> None:
    url, span = "http://127.0.0.1:9000/videos/k", Life(starts_at=EXAMPLE_TIME, seconds=60)
    ours = presign("PUT", url, key=EXAMPLE_KEY, life=span, headers={"Content-Type": "video/mp4", "X-A": " b   c "})
    assert parse_qs(urlsplit(ours).query)["X-Amz-SignedHeaders"] == ["content-type;host;x-a"]
    same = presign("PUT", url, key=EXAMPLE_KEY, life=span, headers={"content-type": "video/mp4", "x-a": "b c"})
    assert ours == same


@pytest.mark.parametrize(
    ("key", "ttl_s", "seconds"),
    [
        (EXAMPLE_KEY, 60, 60),
        (EXAMPLE_KEY, 8 * DAY, 7 * DAY),
        (temporary(NOW + 100), 60, 60),
        (temporary(NOW + 100), 3600, 100),
    ],
    ids=["as asked", "seven days", "credentials live longer", "credentials end first"],
)
def test_a_life_is_the_shortest_of_what_is_asked_allowed_and_left(key: SigningKey, ttl_s: int, seconds: int) -> None:
    span = life(key, now=NOW, ttl_s=ttl_s)
    assert (span.starts_at, span.seconds) == (int(NOW), seconds)
    assert span.ends_at == int(NOW) + seconds


@pytest.mark.parametrize(("key", "ttl_s"), [(temporary(NOW - 1), 60), (EXAMPLE_KEY, 0)], ids=["expired", "no life"])
def test_nothing_is_signed_that_would_be_born_dead(key: SigningKey, ttl_s: int) -> None:
    with pytest.raises(BucketError):
        life(key, now=NOW, ttl_s=ttl_s)


def test_a_signing_key_does_not_show_its_secrets() -> None:
    assert "a/token" not in repr(temporary(NOW))
    assert "SK" not in repr(temporary(NOW))
