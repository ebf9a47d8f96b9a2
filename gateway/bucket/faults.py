"""What the S3 libraries raise, as the port's own errors: short, and without a URL, a key or a query."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from gateway.bucket.port import BucketError, ObjectMissing

_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
_ERROR_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,64})\s*</Code>")
_NOT_A_WORD = re.compile(r"[^A-Za-z0-9.]")


@contextmanager
def speaking(doing: str) -> Iterator[None]:
    """Turn every error of botocore and urllib3 inside the block into BucketError or ObjectMissing."""
    try:
        yield
    except ClientError as error:
        raise refusal(doing, code=error_code(error), status=error_status(error)) from None
    except (BotoCoreError, HTTPClientError, urllib3.exceptions.HTTPError, OSError) as error:
        # The text of these names hosts, paths and sometimes whole signed URLs; the kind of error says enough.
        raise BucketError(f"{doing}: {type(error).__name__}") from None


def refusal(doing: str, *, code: str, status: int) -> BucketError:
    """Return the error for an answer that was not a success."""
    if code in _MISSING:
        return ObjectMissing(f"{doing}: there is no object of that key")
    return BucketError(f"{doing}: the store answered {status} {code}".rstrip())


def error_code(error: ClientError) -> str:
    """Return S3's word for what went wrong, such as `NoSuchBucket`, or an empty text."""
    return _NOT_A_WORD.sub("", str(error.response.get("Error", {}).get("Code", "")))[:64]


def error_status(error: ClientError) -> int:
    """Return the HTTP status of the answer, or 0."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_in(body: bytes) -> str:
    """Return the error code out of an S3 error document, or an empty text."""
    found = _ERROR_CODE.search(body)
    return found.group(1).decode("ascii") if found else ""
