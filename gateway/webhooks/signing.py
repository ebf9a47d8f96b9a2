"""Standard Webhooks signatures, version 1.

Specification 1.0.0: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
TOLERANCE_S = 300
_DERIVED_BYTES = 24
_LENGTHS = range(24, 65)


class BadSignature(Exception):
    """The callback is not what it claims to be; the message says why, without a secret in it."""


def sign(secrets: Sequence[str], *, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of one attempt at the Unix second `timestamp`; every secret adds a signature.

    Raises ValueError for a secret that is not well formed.
    """
    # One header with single spaces: the official verifier fails on two spaces and on folded header lines.
    signatures = " ".join(f"v1,{_signature(secret, webhook_id, timestamp, body)}" for secret in secrets)
    return {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}


def verify(secrets: Sequence[str], *, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Return if any of the secrets signed this body within five minutes of `now`. Raises BadSignature."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        webhook_id, timestamp = lower["webhook-id"], int(lower["webhook-timestamp"])
        given = [part.partition(",") for part in lower["webhook-signature"].split()]
    except (KeyError, ValueError):
        raise BadSignature("a webhook header is missing or malformed") from None
    if abs(now - timestamp) > TOLERANCE_S:
        raise BadSignature("the timestamp is more than five minutes off")
    ours = [_signature(secret, webhook_id, timestamp, body) for secret in secrets]
    if not any(_equal(value, own) for version, _, value in given if version == "v1" for own in ours):
        raise BadSignature("no signature matches")


def well_formed(secret: str) -> bool:
    """Whether a secret is `whsec_` and the padded, standard base64 of 24 to 64 bytes, which all verifiers read."""
    try:
        _key(secret)
    except ValueError:
        return False
    return True


def derive_secret(master: bytes, *, owner: str, version: int) -> str:
    """Return the secret of a client or an endpoint: HKDF-SHA256 (RFC 5869) of the master key, without a salt.

    The same arguments give the same secret for ever, so none is stored; a higher `version` rotates it. 24 bytes need no
    padding in base64, which some verifiers cannot read.
    """
    info = f"sora-gateway webhook secret {version} {owner}".encode()
    pseudorandom_key = hmac.digest(bytes(hashlib.sha256().digest_size), master, "sha256")
    # The expansion's first block is 32 bytes, so one is enough.
    key = hmac.digest(pseudorandom_key, info + b"\x01", "sha256")[:_DERIVED_BYTES]
    return PREFIX + base64.b64encode(key).decode()


def _signature(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode()


def _equal(given: str, own: str) -> bool:
    return hmac.compare_digest(given.encode(), own.encode())


def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        raise ValueError("a webhook secret begins with whsec_")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _LENGTHS:
        raise ValueError("a webhook secret is whsec_ and the base64 of 24 to 64 bytes")
    return key
