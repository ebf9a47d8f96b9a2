"""Remixes: a new video from a finished one, on the upstream and with the key that made it, and paid for once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from gateway.db.ledger import SqlLedger
from gateway.settings import ONLY
from tests.service.ground import Ground, migrated, open_ground
from tests.service.rig import SIZE, UPSTREAM_KEY, Rig

OTHER_KEY = "sk-upstream-another-one"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture(params=["openai", "azure"])
def able(ground: Ground, request: pytest.FixtureRequest) -> Rig:
    return ground.shared(dialect=request.param)


@pytest.fixture
def rig(ground: Ground) -> Iterator[Rig]:
    with ground.rig(reconcile_after_s=20) as rig:
        yield rig


@pytest.fixture(params=["sqlite", "postgresql"])
def pool(ground: Ground, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A gateway with two keys of one upstream, each for one video at a time, on either database."""
    with ExitStack() as stack:
        url = ""
        if request.param == "postgresql":
            url = stack.enter_context(request.getfixturevalue("postgres_server").database(migrated))
        keys = {"1": UPSTREAM_KEY, "2": OTHER_KEY}
        yield stack.enter_context(
            ground.rig(
                database_url=url,
                simulator={"keys": keys},
                upstream_key=f"{UPSTREAM_KEY},{OTHER_KEY}",
                upstream_max_concurrent=1,
            )
        )


def completed(rig: Rig, *prompts: str) -> list[str]:
    videos = [rig.post(prompt) for prompt in prompts or (rig.prompt(),)]
    rig.play(rig.final(*videos))
    for video_id in videos:
        rig.ends(video_id, "completed")
    return videos


def ask(rig: Rig, source: str, prompt: str, *, client: str = "alice", key: str = "", **fields: Any) -> Any:
    """POST a remix; returns the answer."""
    headers = {**rig.api.headers[client], **({"Idempotency-Key": key} if key else {}), **fields.pop("headers", {})}
    body = {"prompt": prompt, **fields}
    return rig.api.http.post(f"/v1/videos/{source}/remix", json=body, headers=headers)


def remixed(rig: Rig, source: str, prompt: str, **fields: Any) -> str:
    """Post a remix that must be accepted; returns its id."""
    answer = ask(rig, source, prompt, callback_url=rig.inbox.url, **fields)
    assert answer.status_code == 202, answer.get_data(as_text=True)
    rig._owners[answer.json["id"]] = "alice"
    return str(answer.json["id"])


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["error"]["code"]


# -- the whole life of one ---------------------------------------------------------------------------------------------


def test_a_remix_is_made_of_the_upstream_s_own_video_and_names_ours(able: Rig) -> None:
    (source,) = completed(able)
    prompt = able.prompt()
    answer = ask(able, source, prompt, callback_url=able.inbox.url, metadata={"order": "7"})
    video_id = answer.json["id"]
    able._owners[video_id] = "alice"
    assert (answer.status_code, answer.headers["Location"].rsplit("/", 1)[1]) == (202, video_id)
    shown = {name: answer.json[name] for name in ("status", "remixed_from_video_id", "size", "seconds", "metadata")}
    assert shown == {
        "status": "queued", "remixed_from_video_id": source, "size": SIZE, "seconds": "4", "metadata": {"order": "7"},
    }  # fmt: skip
    able.play(able.final(video_id))
    video = able.ends(video_id, "completed")
    assert (video["remixed_from_video_id"], video["prompt"]) == (source, prompt)
    (made,) = able.made(prompt)
    assert made.remixed_from == able.upstream_id(source)
    assert len(able.submits(prompt)) == 1
    assert able.callbacks(video_id)[0].video["remixed_from_video_id"] == source


def test_a_remix_can_be_remixed(able: Rig) -> None:
    (source,) = completed(able)
    first = remixed(able, source, able.prompt())
    able.play(able.final(first))
    prompt = able.prompt()
    second = remixed(able, first, prompt)
    able.play(able.final(second))
    assert able.ends(second, "completed")["remixed_from_video_id"] == first
    assert able.made(prompt)[0].remixed_from == able.upstream_id(first)


def test_a_remix_is_posted_as_a_form_too(able: Rig) -> None:
    (source,) = completed(able)
    form = {"prompt": "p", "metadata[a]": "b", "callback_url": able.inbox.url, "callback_events[]": "video.failed"}
    answer = able.api.http.post(f"/v1/videos/{source}/remix", data=form, headers=able.api.headers["alice"])
    assert (answer.status_code, answer.json["metadata"]) == (202, {"a": "b"})
    able._owners[answer.json["id"]] = "alice"
    able.play(able.final(answer.json["id"]))


@pytest.mark.parametrize("dialect", ["apiyi", "vllm-omni", "sglang", "litellm", "openrouter"])
def test_a_dialect_that_knows_no_remix_is_refused_at_the_post(ground: Ground, dialect: str) -> None:
    rig = ground.shared(dialect=dialect)
    (source,) = completed(rig)
    answer = ask(rig, source, "p")
    assert refused(answer) == (400, "remix_not_available")
    assert answer.json["error"]["param"] == "video_id"


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_another_client_s_video_is_not_there(rig: Rig) -> None:
    (source,) = completed(rig)
    assert refused(ask(rig, source, "p", client="bob")) == (404, "not_found")
    assert refused(ask(rig, "video_unknown", "p")) == (404, "not_found")


def test_a_video_that_is_not_made_cannot_be_remixed(rig: Rig) -> None:
    waiting, failed, cancelled = rig.post(rig.prompt()), rig.post(rig.prompt("fail-error")), rig.post(rig.prompt())
    assert refused(ask(rig, waiting, "p")) == (409, "not_ready")
    rig.api.cancel(cancelled)
    rig.play(rig.final(waiting, failed))
    assert refused(ask(rig, failed, "p")) == (409, "video_failed")
    assert refused(ask(rig, cancelled, "p")) == (409, "video_cancelled")


def test_a_video_that_retention_removed_is_gone_and_a_deleted_one_is_not_there(rig: Rig) -> None:
    old, deleted = completed(rig, rig.prompt(), rig.prompt())
    now = rig.installation.database.now()
    rig.api.http.delete(f"/v1/videos/{deleted}", headers=rig.api.headers["alice"])
    SqlLedger(rig.installation.database).retire(before=now + 1, limit=10, now=now)
    assert refused(ask(rig, old, "p")) == (410, "content_removed")
    assert refused(ask(rig, deleted, "p")) == (404, "not_found")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": " "}, "prompt"),
        ({"size": SIZE}, "size"),
        ({"model": "sora-2"}, "model"),
        ({"extra": {"seed": 1}}, "extra"),
        ({"callback_events": ["video.failed"]}, "callback_events"),
        ({"callback_url": "http://10.0.0.1/"}, "callback_url"),
    ],
)
def test_what_a_remix_does_not_take_is_400(able: Rig, fields: dict[str, object], param: str) -> None:
    if not hasattr(able, "source"):
        able.source = completed(able)[0]  # type: ignore[attr-defined]
    answer = ask(able, able.source, **{"prompt": "p", **fields})  # type: ignore[attr-defined]
    assert (answer.status_code, answer.json["error"]["param"]) == (400, param)


def test_a_picture_is_no_part_of_a_remix(rig: Rig) -> None:
    form = {"prompt": "p", "input_reference": (io.BytesIO(b"..."), "p.png")}
    answer = rig.api.http.post("/v1/videos/video_x/remix", data=form, headers=rig.api.headers["alice"])
    assert (answer.status_code, answer.json["error"]["param"]) == (400, "input_reference")


# -- repeated requests -------------------------------------------------------------------------------------------------


def test_a_remix_posted_twice_with_one_key_is_one_video(rig: Rig) -> None:
    source, other = completed(rig, rig.prompt(), rig.prompt())
    prompt = rig.prompt()
    first = ask(rig, source, prompt, key="k-1")
    again = ask(rig, source, prompt, key="k-1")
    assert (again.status_code, again.json["id"], again.headers["Idempotent-Replayed"]) == (
        202,
        first.json["id"],
        "true",
    )
    assert again.json["remixed_from_video_id"] == source
    assert refused(ask(rig, other, prompt, key="k-1")) == (422, "idempotency_key_reused")
    as_new = {**rig.api.headers["alice"], "Idempotency-Key": "k-1"}
    assert rig.api.http.post("/v1/videos", json={"prompt": prompt}, headers=as_new).status_code == 422
    # Also once the video that it starts from is gone.
    rig.api.http.delete(f"/v1/videos/{source}", headers=rig.api.headers["alice"])
    assert ask(rig, source, prompt, key="k-1").json["id"] == first.json["id"]


def test_an_sdk_s_own_retry_of_a_remix_is_the_same_video_and_of_another_source_is_not(rig: Rig) -> None:
    source, other = completed(rig, rig.prompt(), rig.prompt())
    prompt, retry = rig.prompt(), {"x-stainless-retry-count": "1"}
    first = ask(rig, source, prompt)
    assert ask(rig, source, prompt, headers=retry).json["id"] == first.json["id"]
    assert ask(rig, other, prompt, headers=retry).json["id"] != first.json["id"]


# -- the key that made it ----------------------------------------------------------------------------------------------


def test_a_remix_is_made_with_the_key_that_made_its_source_although_another_is_free(pool: Rig) -> None:
    first, second = completed(pool, pool.prompt(), pool.prompt())
    keys = {pool.upstream_id(video): key for video, key in ((first, "1"), (second, "2"))}
    owners = {video.id: video.key for video in pool.simulator.books().videos}
    assert sorted(owners.values()) == ["1", "2"], keys
    prompts = [pool.prompt() for _ in range(4)]
    # All of one video, so of one key, which makes one at a time.
    videos = [remixed(pool, first, prompt) for prompt in prompts]
    pool.play(pool.final(*videos))
    for video_id, prompt in zip(videos, prompts, strict=True):
        pool.ends(video_id, "completed")
        (made,) = pool.made(prompt)
        assert made.key == owners[pool.upstream_id(first) or ""]
        assert [note.key for note in pool.submits(prompt)] == [made.key]


def test_a_remix_waits_for_its_key_while_that_is_refused_and_says_so_in_the_end(ground: Ground) -> None:
    keys = {"1": UPSTREAM_KEY, "2": OTHER_KEY}
    with ground.rig(simulator={"keys": keys}, upstream_key=f"{UPSTREAM_KEY},{OTHER_KEY}", queue_timeout_s=900) as rig:
        (source,) = completed(rig)
        prompt = rig.prompt("submit-quota*all")
        video_id = remixed(rig, source, prompt)
        rig.play(rig.final(video_id), longest_s=2000)
        rig.ends(video_id, "failed", code="insufficient_quota", event="key_refused")
        assert {note.key for note in rig.submits(prompt)} == {"1"}


def test_a_remix_fails_with_a_code_of_its_own_where_the_upstream_has_its_source_no_longer(rig: Rig) -> None:
    (source,) = completed(rig)
    upstream_id = rig.upstream_id(source) or ""
    adapter, key = rig.installation.upstreams[ONLY].adapter, rig.installation.upstreams[ONLY].keys[0]
    assert adapter.cancel(upstream_id, key)
    video_id = remixed(rig, source, rig.prompt())
    rig.play(rig.final(video_id))
    video = rig.ends(video_id, "failed", code="upstream_job_lost")
    assert upstream_id not in video["error"]["message"]


# -- lost answers ------------------------------------------------------------------------------------------------------


def test_a_remix_whose_answer_was_lost_is_found_in_the_list_and_paid_for_once(rig: Rig) -> None:
    (source,) = completed(rig)
    prompt = rig.prompt("submit-reset-after")
    video_id = remixed(rig, source, prompt)
    rig.play(rig.final(video_id))
    rig.ends(video_id, "completed", event="accepted")
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


def test_a_remix_that_was_never_made_is_proven_absent_and_submitted_again(rig: Rig) -> None:
    (source,) = completed(rig)
    prompt = rig.prompt("submit-reset")
    video_id = remixed(rig, source, prompt)
    rig.play(rig.final(video_id))
    rig.ends(video_id, "completed", event="proven_absent")
    assert (len(rig.submits(prompt)), len(rig.made(prompt))) == (2, 1)


def test_lost_remixes_of_equal_words_are_told_apart_by_what_they_were_made_of(rig: Rig) -> None:
    sources = completed(rig, rig.prompt(), rig.prompt())
    prompt = rig.prompt("submit-reset-after*3")
    rig.simulator.faults("list-503-plain*6")
    videos = [remixed(rig, source, prompt) for source in sources]
    plain = rig.post(prompt)
    rig.play(rig.final(*videos, plain))
    for video_id in (*videos, plain):
        rig.ends(video_id, "completed")
    made = {video.id: video.remixed_from for video in rig.made(prompt)}
    expected = {rig.upstream_id(video): rig.upstream_id(source) for video, source in zip(videos, sources, strict=True)}
    assert made == {**expected, rig.upstream_id(plain): None}
    assert len(rig.submits(prompt)) == 3


def test_a_remix_of_which_the_list_does_not_say_what_it_was_made_of_is_never_guessed(rig: Rig) -> None:
    (source,) = completed(rig)
    prompt = rig.prompt("submit-reset-after sim:no-source")
    video_id = remixed(rig, source, prompt)
    rig.play(rig.final(video_id))
    rig.ends(video_id, "failed", code="submission_unknown")
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1
