"""The official SDK for Python verifies what the worker sent, and manages account-wide endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from gateway.demo.inbox import Callback, Inbox
from tests.e2e.harness import World
from tests.e2e.processes import LONG_S

pytestmark = [
    pytest.mark.xdist_group("sdk"),
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
]


@pytest.fixture
def receiver() -> Iterator[Inbox]:
    """A receiver that verifies nothing: here the SDK does."""
    with Inbox() as inbox:
        yield inbox


def awaited(receiver: Inbox, count: int) -> Callback:
    """The last of so many callbacks."""
    came = receiver.wait_for(lambda callbacks: len(callbacks) == count, timeout_s=LONG_S)
    assert came is not None
    return came[-1]


def test_a_real_callback_is_unwrapped_and_a_changed_one_is_not(whole: World, sdk: openai.OpenAI) -> None:
    video = sdk.videos.create(prompt="a cat to call back", extra_body={"callback_url": whole.inbox.url})
    callback = whole.await_callback(video.id)
    event: Any = sdk.webhooks.unwrap(callback.body, callback.headers)
    assert (event.type, event.object, event.data.id) == ("video.completed", "event", video.id)
    assert whole.fetched_hash(event.data.url) == whole.video(video.id)["content"]["sha256"]
    with pytest.raises(openai.InvalidWebhookSignatureError):
        sdk.webhooks.unwrap(callback.body + b" ", callback.headers)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        sdk.webhooks.unwrap(callback.body, {**callback.headers, "webhook-timestamp": "1"})


def test_an_endpoint_is_made_looked_at_changed_listed_and_deleted(sdk: openai.OpenAI) -> None:
    made = [
        sdk.webhooks.create(name=f"python {number}", url="http://127.0.0.1:9/", event_types=["video.failed"])
        for number in range(3)
    ]
    first = made[0]
    assert first.signing_secret.endswith(str(first.signing_secret_hint)[-4:])
    seen = sdk.webhooks.retrieve(first.id)
    assert (seen.object, seen.name, seen.url) == ("webhook_endpoint", "python 0", "http://127.0.0.1:9/")
    changed = sdk.webhooks.update(first.id, name="renamed", event_types=["video.completed", "video.failed"])
    assert (changed.name, changed.event_types) == ("renamed", ["video.completed", "video.failed"])
    assert (changed.created_at, changed.url) == (first.created_at, first.url)
    assert [endpoint.id for endpoint in sdk.webhooks.list(limit=2)] == [endpoint.id for endpoint in reversed(made)]
    for endpoint in made:
        assert sdk.webhooks.delete(endpoint.id).deleted
    assert list(sdk.webhooks.list()) == []
    with pytest.raises(openai.NotFoundError):
        sdk.webhooks.retrieve(first.id)


def test_an_endpoint_is_told_of_every_video_with_its_own_secret(sdk: openai.OpenAI, receiver: Inbox) -> None:
    endpoint = sdk.webhooks.create(name="all", url=receiver.url, event_types=["video.completed"])
    video = sdk.videos.create(prompt="a cat that all hear of")
    # Videos that other tests posted may still end meanwhile.
    came = receiver.wait_for(lambda callbacks: any(one.video["id"] == video.id for one in callbacks), timeout_s=LONG_S)
    sdk.webhooks.delete(endpoint.id)
    assert came is not None
    callback = next(one for one in came if one.video["id"] == video.id)
    event: Any = sdk.webhooks.unwrap(callback.body, callback.headers, secret=endpoint.signing_secret)
    assert (event.type, event.data.id) == ("video.completed", video.id)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        sdk.webhooks.unwrap(callback.body, callback.headers)


def test_a_rotated_secret_signs_beside_the_old_one_where_that_is_wished(sdk: openai.OpenAI, receiver: Inbox) -> None:
    endpoint = sdk.webhooks.create(name="rotated", url=receiver.url, event_types=["video.failed"])
    second = sdk.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True).signing_secret
    sdk.webhooks.test(endpoint.id, event_type="video.failed")
    both = awaited(receiver, 1)
    for secret in (endpoint.signing_secret, second):
        sdk.webhooks.unwrap(both.body, both.headers, secret=secret)
    third = sdk.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=False).signing_secret
    sdk.webhooks.test(endpoint.id, event_type="video.failed")
    only = awaited(receiver, 2)
    sdk.webhooks.unwrap(only.body, only.headers, secret=third)
    for secret in (endpoint.signing_secret, second):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            sdk.webhooks.unwrap(only.body, only.headers, secret=secret)
    sdk.webhooks.delete(endpoint.id)


def test_a_test_says_what_the_receiver_answered(sdk: openai.OpenAI, receiver: Inbox) -> None:
    endpoint = sdk.webhooks.create(name="tested", url=receiver.url, event_types=["video.completed"])
    receiver.answer_with(204, 500)
    for status in (204, 500):
        result = sdk.webhooks.test(endpoint.id, event_type="video.failed")
        assert (result.object, result.webhook_endpoint_id) == ("webhook_endpoint.test", endpoint.id)
        assert (result.event_type, result.status_code, result.success) == ("video.failed", status, True)
    sdk.webhooks.delete(endpoint.id)


def test_event_types_are_listed(sdk: openai.OpenAI) -> None:
    assert set(sdk.webhooks.event_types.list().data) >= {"video.completed", "video.failed"}
