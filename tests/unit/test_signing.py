from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime

import openai
import pytest
import standardwebhooks
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from gateway.webhooks.signing import BadSignature, derive_secret, sign, verify, well_formed

VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR = {"webhook_id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "timestamp": 1614265330, "body": b'{"test": 2432232314}'}
OTHER = derive_secret(b"another master", owner="somebody", version=1)

bodies = st.binary(max_size=300)
masters = st.binary(min_size=16, max_size=64)


def test_signature_is_that_of_the_reference_implementation_for_its_own_vector() -> None:
    assert sign([VECTOR_SECRET], **VECTOR) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(masters, st.text(max_size=20), st.text(max_size=300))
def test_signature_is_taken_by_the_official_verifier(master: bytes, owner: str, text: str) -> None:
    secret = derive_secret(master, owner=owner, version=1)
    body = json.dumps({"text": text}).encode()
    now = int(datetime.now(UTC).timestamp())
    headers = sign([OTHER, secret], webhook_id="evt_1", timestamp=now, body=body)
    assert standardwebhooks.Webhook(secret).verify(body, headers) == {"text": text}


def test_signature_is_taken_by_the_openai_sdk() -> None:
    secret = derive_secret(b"a master key of the gateway", owner="alice", version=1)
    body = json.dumps(
        {"id": "evt_1", "object": "event", "type": "video.completed", "created_at": 1, "data": {"id": "video_1"}}
    ).encode()
    headers = sign([secret, OTHER], webhook_id="evt_1", timestamp=int(datetime.now(UTC).timestamp()), body=body)
    client = openai.OpenAI(api_key="unused", webhook_secret=secret)
    event = client.webhooks.unwrap(body, headers)
    assert event.type == "video.completed"
    client.close()


def test_signatures_of_several_secrets_stand_in_one_header_with_single_spaces() -> None:
    headers = sign([VECTOR_SECRET, OTHER], **VECTOR)
    first, second = headers["webhook-signature"].split(" ")
    assert (first, second) == tuple(sign([secret], **VECTOR)["webhook-signature"] for secret in (VECTOR_SECRET, OTHER))


@given(bodies)
def test_verify_takes_what_sign_made_with_any_of_the_secrets(body: bytes) -> None:
    headers = sign([VECTOR_SECRET], webhook_id="evt_1", timestamp=1000, body=body)
    verify([OTHER, VECTOR_SECRET], headers=headers, body=body, now=1000)


@pytest.mark.parametrize("name", ["Webhook-Id", "WEBHOOK-ID"])
def test_verify_finds_headers_in_any_case(name: str) -> None:
    headers = sign([VECTOR_SECRET], **VECTOR)
    headers[name] = headers.pop("webhook-id")
    verify([VECTOR_SECRET], headers=headers, body=VECTOR["body"], now=1614265330)


@pytest.mark.parametrize("off", [-300, 0, 300])
def test_verify_takes_a_timestamp_within_five_minutes(off: int) -> None:
    verify([VECTOR_SECRET], headers=sign([VECTOR_SECRET], **VECTOR), body=VECTOR["body"], now=1614265330 + off)


@pytest.mark.parametrize("off", [-301, 301])
def test_verify_refuses_a_timestamp_beyond_five_minutes(off: int) -> None:
    with pytest.raises(BadSignature, match="five minutes"):
        verify([VECTOR_SECRET], headers=sign([VECTOR_SECRET], **VECTOR), body=VECTOR["body"], now=1614265330 + off)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "msg_other"),
        ("webhook-timestamp", "1614265331"),
        ("webhook-signature", "v1,AAAA"),
        ("webhook-signature", "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ("webhook-signature", "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ("webhook-signature", ""),
        ("webhook-signature", "v1,ü"),
        ("webhook-timestamp", "soon"),
    ],
)
def test_verify_refuses_a_changed_header(name: str, value: str) -> None:
    headers = sign([VECTOR_SECRET], **VECTOR) | {name: value}
    with pytest.raises(BadSignature):
        verify([VECTOR_SECRET], headers=headers, body=VECTOR["body"], now=1614265330)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_verify_refuses_a_missing_header(name: str) -> None:
    headers = sign([VECTOR_SECRET], **VECTOR)
    del headers[name]
    with pytest.raises(BadSignature, match="missing"):
        verify([VECTOR_SECRET], headers=headers, body=VECTOR["body"], now=1614265330)


def test_verify_refuses_another_body_and_another_secret() -> None:
    headers = sign([VECTOR_SECRET], **VECTOR)
    for secrets, body in (([VECTOR_SECRET], b"{}"), ([OTHER], VECTOR["body"]), ([], VECTOR["body"])):
        with pytest.raises(BadSignature, match="no signature matches"):
            verify(secrets, headers=headers, body=body, now=1614265330)


@given(masters, st.text(max_size=50), st.integers(1, 10**6))
def test_derived_secret_is_hkdf_by_the_standard(master: bytes, owner: str, version: int) -> None:
    info = f"sora-gateway webhook secret {version} {owner}".encode()
    expected = HKDF(algorithm=hashes.SHA256(), length=24, salt=None, info=info).derive(master)
    assert derive_secret(master, owner=owner, version=version) == "whsec_" + base64.b64encode(expected).decode()


@given(masters, st.text(max_size=20))
def test_derived_secret_needs_no_padding_and_is_well_formed(master: bytes, owner: str) -> None:
    secret = derive_secret(master, owner=owner, version=1)
    assert well_formed(secret)
    assert (len(secret), "=" in secret) == (len("whsec_") + 32, False)


def test_derived_secret_differs_by_master_owner_and_version() -> None:
    secrets = {
        derive_secret(master, owner=owner, version=version)
        for master in (b"m" * 32, b"n" * 32)
        for owner in ("a", "b", "1 a", "endpoint:a")
        for version in (1, 2, 11)
    }
    assert len(secrets) == 24


@pytest.mark.parametrize(
    ("secret", "good"),
    [
        (VECTOR_SECRET, True),
        ("whsec_" + base64.b64encode(bytes(32)).decode(), True),
        ("whsec_" + base64.b64encode(bytes(64)).decode(), True),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), False),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), False),
        ("whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="), False),
        ("whsec_" + base64.urlsafe_b64encode(b"\xff" * 24).decode(), False),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", False),
        ("whsec_", False),
        ("whsec_ü" + "A" * 31, False),
        (VECTOR_SECRET + "\n", False),
        ("", False),
    ],
)
def test_well_formed_takes_what_every_verifier_reads_alike(secret: str, *, good: bool) -> None:
    assert well_formed(secret) is good


def test_sign_refuses_a_malformed_secret_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="whsec_") as refused:
        sign(["hunter2"], **VECTOR)
    assert "hunter2" not in str(refused.value)


def test_verify_compares_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    really = hmac.compare_digest

    def compare_digest(given: bytes, own: bytes) -> bool:
        compared.append(own)
        return really(given, own)

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    verify([VECTOR_SECRET], headers=sign([VECTOR_SECRET], **VECTOR), body=VECTOR["body"], now=1614265330)
    assert compared == [b"g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="]
