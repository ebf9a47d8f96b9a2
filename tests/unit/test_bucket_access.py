"""How stores are addressed, which checksums they are sent, and which credentials sign. Nothing here connects."""

from __future__ import annotations

import datetime as dt
import socket

import boto3
import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials

from gateway.bucket.access import Access, Addressing
from gateway.bucket.port import BucketError

ENDS = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _no_aws_settings_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        pytest.fail("tried to connect")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def access(
    *,
    bucket: str = "videos",
    endpoint: str | None = None,
    public: str | None = None,
    addressing: Addressing = "auto",
    region: str | None = None,
    session: boto3.Session | None = None,
) -> Access:
    return Access(
        bucket=bucket,
        endpoint_url=endpoint,
        public_endpoint_url=public,
        addressing=addressing,
        session=session or boto3.Session("AK", "SK", region_name=region),
    )


@pytest.mark.parametrize(
    ("region", "bucket", "addressing", "address"),
    [
        (None, "videos", "auto", "https://videos.s3.amazonaws.com/"),
        ("eu-west-1", "videos", "auto", "https://videos.s3.eu-west-1.amazonaws.com/"),
        ("eu-west-1", "with.dots", "auto", "https://s3.eu-west-1.amazonaws.com/with.dots/"),
        ("eu-west-1", "videos", "path", "https://s3.eu-west-1.amazonaws.com/videos/"),
        ("cn-north-1", "videos", "auto", "https://videos.s3.cn-north-1.amazonaws.com.cn/"),
    ],
)
def test_aws_is_addressed_by_region(region: str | None, bucket: str, addressing: Addressing, address: str) -> None:
    assert access(region=region, bucket=bucket, addressing=addressing).inner == address


@pytest.mark.parametrize(
    ("addressing", "address"),
    [
        ("auto", "https://s3.example.com/videos/"),
        ("path", "https://s3.example.com/videos/"),
        ("virtual", "https://videos.s3.example.com/"),
    ],
)
def test_a_custom_endpoint_is_addressed_by_path_unless_told_otherwise(addressing: Addressing, address: str) -> None:
    assert access(endpoint="https://s3.example.com", addressing=addressing).inner == address


def test_links_go_to_the_public_endpoint_and_default_to_the_other() -> None:
    both = access(endpoint="http://minio:9000", public="https://media.example.com/s3")
    assert (both.inner, both.outer) == ("http://minio:9000/videos/", "https://media.example.com/s3/videos/")
    assert access(endpoint="http://minio:9000").outer == "http://minio:9000/videos/"


@pytest.mark.parametrize(
    ("endpoint", "checksums"),
    [
        (None, "when_supported"),
        ("https://s3.eu-west-1.amazonaws.com", "when_supported"),
        ("http://127.0.0.1:9000", "when_required"),
        ("https://account.r2.cloudflarestorage.com", "when_required"),
        ("https://amazonaws.com.example.org", "when_required"),
    ],
)
def test_checksums_are_sent_to_aws_only(endpoint: str | None, checksums: str) -> None:
    config = access(endpoint=endpoint).client.meta.config
    assert (config.request_checksum_calculation, config.response_checksum_validation) == (checksums, checksums)


def test_what_a_request_waits_for_is_over_within_20_s() -> None:
    config = access().prompt_client.meta.config
    assert config.retries["total_max_attempts"] * (config.connect_timeout + config.read_timeout) <= 20


@pytest.mark.parametrize(
    "settings", [{"endpoint": "minio:9000"}, {"endpoint": "not a url"}, {"bucket": "no/such name"}], ids=str
)
def test_settings_that_name_no_store_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(BucketError, match=r"^bucket settings: "):
        access(**settings)  # type: ignore[arg-type]


def test_the_endpoint_of_the_aws_chain_is_a_custom_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000")
    found = access()
    assert found.inner == "http://127.0.0.1:9000/videos/"
    assert found.client.meta.config.request_checksum_calculation == "when_required"


def test_a_key_of_the_chain_s_own_does_not_end() -> None:
    key = access(region="eu-west-1").key()
    assert (key.access_key, key.token, key.region, key.expires_at) == ("AK", None, "eu-west-1", None)


def test_temporary_credentials_tell_when_they_end() -> None:
    inner = botocore.session.Session()
    inner._credentials = RefreshableCredentials(
        "AK",
        "SK",
        "token",
        ENDS,
        refresh_using=lambda: pytest.fail("renewed"),
        method="test",
        time_fetcher=lambda: ENDS - dt.timedelta(hours=6),
    )
    key = access(session=boto3.Session(botocore_session=inner)).key()
    assert (key.token, key.expires_at) == ("token", ENDS.timestamp())


def test_no_credentials_at_all_is_a_bucket_error() -> None:
    found = access(session=boto3.Session())
    with pytest.raises(BucketError, match="the AWS chain has none"):
        found.key()
