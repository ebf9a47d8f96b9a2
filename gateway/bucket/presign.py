"""Presigned URLs: AWS Signature Version 4 in the query, computed here so that the signing time is a parameter."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote, urlsplit

from gateway.bucket.port import BucketError

LONGEST_TTL_S = 7 * 86400
"""AWS refuses a longer X-Amz-Expires: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html."""

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningKey:
    """An access key as it is at one moment; `expires_at` (Unix seconds) is None for one that does not end."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    region: str
    expires_at: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """From when and for how long a URL is good, in whole seconds, as the store will count."""

    starts_at: int
    seconds: int

    @property
    def ends_at(self) -> float:
        """The Unix second at which the URL is dead."""
        return float(self.starts_at + self.seconds)


def life(key: SigningKey, *, now: float, ttl_s: int) -> Life:
    """Return the longest life not above `ttl_s`, 7 days and the key's own end; raises BucketError where none is left.

    A URL made with temporary credentials dies with them, whatever X-Amz-Expires says.
    """
    starts_at = int(now)
    seconds = min(ttl_s, LONGEST_TTL_S)
    if key.expires_at is not None:
        seconds = min(seconds, int(key.expires_at) - starts_at)
    if seconds < 1:
        raise BucketError("sign: the credentials have expired, or the life asked for is below one second")
    return Life(starts_at=starts_at, seconds=seconds)


def presign(
    method: str,
    url: str,
    *,
    key: SigningKey,
    life: Life,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Return `url` (quoted, without a query) with a signed query; `headers` must be sent exactly as given."""
    parts = urlsplit(url)
    signed = {"host": _host(url)} | {name.lower(): " ".join(value.split()) for name, value in (headers or {}).items()}
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(life.starts_at))
    scope = f"{stamp[:8]}/{key.region}/s3/aws4_request"
    names = ";".join(sorted(signed))
    fields = dict(query or {}) | {
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{key.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(life.seconds),
        "X-Amz-SignedHeaders": names,
    }
    if key.token is not None:
        fields["X-Amz-Security-Token"] = key.token
    asked = "&".join(sorted(f"{_quoted(name)}={_quoted(value)}" for name, value in fields.items()))
    lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
    canonical = "\n".join([method, parts.path or "/", asked, lines, names, "UNSIGNED-PAYLOAD"])
    to_sign = "\n".join([_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    return f"{url}?{asked}&X-Amz-Signature={_signature(key, stamp[:8], to_sign)}"


def _signature(key: SigningKey, day: str, to_sign: str) -> str:
    signing = _begun(key.secret_key, day, key.region).copy()
    signing.update(to_sign.encode())
    return signing.hexdigest()


@lru_cache(maxsize=8)
def _begun(secret_key: str, day: str, region: str) -> hmac.HMAC:
    """Return the signature of nothing yet with the day's key, to be copied: half of the work is done once a day."""
    step = f"AWS4{secret_key}".encode()
    for word in (day, region, "s3", "aws4_request"):
        step = hmac.digest(step, word.encode(), "sha256")
    return hmac.new(step, digestmod="sha256")


def _host(url: str) -> str:
    # HTTP clients leave the scheme's own port out of the Host header, and the header is what the store checks.
    parts = urlsplit(url)
    if parts.port is not None and parts.port == _DEFAULT_PORTS.get(parts.scheme):
        return parts.netloc.rpartition(":")[0]
    return parts.netloc


@lru_cache(maxsize=512)  # names and most values are the same in every link
def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
