"""How a store is reached: its address, its credentials, and the boto3 clients for everything but the bytes."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote, urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from gateway.bucket.faults import speaking
from gateway.bucket.port import BucketError
from gateway.bucket.presign import SigningKey

Addressing = Literal["auto", "path", "virtual"]

DEFAULT_REGION = "us-east-1"
_PROBE = "k"


class Access:
    """One bucket at one endpoint, made once; making it sends nothing but what the AWS credential chain needs."""

    def __init__(
        self,
        *,
        bucket: str,
        endpoint_url: str | None,
        public_endpoint_url: str | None,
        addressing: Addressing,
        session: boto3.Session,
    ) -> None:
        self._session = session
        self._region = session.region_name or DEFAULT_REGION
        try:
            with speaking("bucket settings"):
                self.inner = self._address(bucket, endpoint_url, addressing)
                public = public_endpoint_url or endpoint_url
                self.outer = self.inner if public == endpoint_url else self._address(bucket, public, addressing)
                self.client: Any = self._client(endpoint_url, addressing, connect_s=5, read_s=45, attempts=2)
                # A request waits for what this one sends: a store that hangs must not take every thread of the API.
                self.prompt_client: Any = self._client(endpoint_url, addressing, connect_s=3, read_s=15, attempts=1)
        except ValueError:
            raise BucketError("bucket settings: the S3 endpoint is not a URL, or the bucket's name not valid") from None

    def key(self) -> SigningKey:
        """Return the access key as it is now; temporary ones are renewed by the chain. Raises BucketError for none."""
        with speaking("credentials"):
            credentials = self._session.get_credentials()
            frozen = credentials and credentials.get_frozen_credentials()
        if not frozen or not frozen.access_key or not frozen.secret_key:
            raise BucketError("credentials: the AWS chain has none")
        # botocore has no public name for it, and a presigned link must not promise more than its credentials live.
        ends = getattr(credentials, "_expiry_time", None)
        return SigningKey(
            access_key=frozen.access_key,
            secret_key=frozen.secret_key,
            token=frozen.token,
            region=self._region,
            expires_at=None if ends is None else ends.timestamp(),
        )

    def _address(self, bucket: str, endpoint_url: str | None, addressing: Addressing) -> str:
        # boto3 knows every partition and every rule of addressing: let it spell one URL and keep all but the key.
        # "auto" presigns AWS buckets of other regions for the global host, which redirects while a bucket is new.
        style = "virtual" if addressing == "auto" and endpoint_url is None else addressing
        config = Config(signature_version=UNSIGNED, region_name=self._region, s3={"addressing_style": style})
        client = self._session.client("s3", endpoint_url=endpoint_url, config=config)
        url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": _PROBE})
        return str(url).partition("?")[0].removesuffix(_PROBE)

    def _client(
        self, endpoint_url: str | None, addressing: Addressing, *, connect_s: float, read_s: float, attempts: int
    ) -> Any:
        # Many S3 servers refuse the checksums that AWS takes, or store their framing inside the object.
        checksums = "when_supported" if _is_aws(self.inner) else "when_required"
        config = Config(
            signature_version="s3v4",
            region_name=self._region,
            connect_timeout=connect_s,
            read_timeout=read_s,
            retries={"mode": "standard", "total_max_attempts": attempts},
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            max_pool_connections=32,
            # The bytes go without a proxy, so the rest must too: half a store is no store.
            proxies={},
            s3={"addressing_style": addressing},
        )
        return self._session.client("s3", endpoint_url=endpoint_url, config=config)


def object_url(base: str, key: str) -> str:
    """Return the URL of a key below a bucket's address."""
    return base + quote(key, safe="/-_.~")


def _is_aws(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
