"""What every dialect must do behind the upstream port, against real HTTP on loopback that breaks in every way."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.outbound.session import Outbound
from gateway.upstreams import port
from gateway.upstreams.dialects import DIALECTS, named
from gateway.upstreams.encoding import as_json, multipart
from tests.servers import RawServer, answering, head, trap
from tests.upstreams import (
    API,
    JOB,
    KEY,
    ODD_ID,
    PICTURE,
    SECRET,
    WAIT_S,
    Bench,
    Handler,
    a_request,
    cut_after,
    dripping,
    each,
    endless,
    form_of,
    leads_to,
    resets,
    says,
    submit,
    then_silence,
)


@pytest.fixture(params=DIALECTS)
def bench(request: pytest.FixtureRequest, outbounds: dict[str, Outbound]) -> Bench:
    return Bench(dialect=DIALECTS[request.param], **outbounds)


@pytest.fixture
def openai(outbounds: dict[str, Outbound]) -> Bench:
    return Bench(dialect=DIALECTS["openai"], **outbounds)


FORMS = [name for name, dialect in DIALECTS.items() if dialect.body is multipart]
in_forms = pytest.mark.parametrize("bench", FORMS, indirect=True)


@in_forms
def test_submit_sends_the_protocol_s_form_when_there_is_a_picture(bench: Bench) -> None:
    with RawServer(each(says(200, JOB))) as server:
        request = a_request(bench, image=PICTURE)
        outcome = submit(bench.at(server), request)
        sent = server.request()
    assert isinstance(outcome, port.Accepted)
    assert outcome.upstream_job_id == "video_1"
    assert (sent.method, sent.target) == ("POST", bench.target("/v1/videos"))
    assert sent.headers[bench.key_header[0]] == bench.key_header[1]
    assert form_of(sent) == [
        ("model", None, "text/plain", request.model.encode()),
        ("prompt", None, "text/plain", "a cät".encode()),
        ("seconds", None, "text/plain", str(request.seconds).encode()),
        ("size", None, "text/plain", request.size.encode()),
        ("input_reference", "input_reference.png", "image/png", PICTURE.data),
    ]


@pytest.mark.parametrize(("kind", "suffix"), [("image/jpeg", ".jpg"), ("image/webp", ".webp")])
def test_submit_names_the_file_after_its_type(openai: Bench, kind: str, suffix: str) -> None:
    with RawServer(each(says(200, JOB))) as server:
        submit(openai.at(server), a_request(openai, image=replace(PICTURE, content_type=kind)))
        parts = form_of(server.request())
    assert parts[-1][1:3] == (f"input_reference{suffix}", kind)


@in_forms
def test_submit_is_a_multipart_form_when_there_is_no_picture(bench: Bench) -> None:
    with RawServer(each(says(200, JOB))) as server:
        submit(bench.at(server), a_request(bench))
        parts = form_of(server.request())
    assert [name for name, *_ in parts] == ["model", "prompt", "seconds", "size"]


@in_forms
def test_submit_sends_extra_fields_but_none_of_the_protocol_s_own(bench: Bench) -> None:
    extra = {"seed": 7, "loop": True, "lora": {"a": 1}, "style": "noir", "model": "other", "prompt": "other"}
    with RawServer(each(says(200, JOB))) as server:
        submit(bench.at(server), a_request(bench, extra=extra))
        parts = {name: data for name, _, _, data in form_of(server.request())}
    assert parts["prompt"] == "a cät".encode()
    assert parts["model"] == a_request(bench).model.encode()
    assert [parts[name] for name in ("seed", "loop", "lora", "style")] == [b"7", b"true", b'{"a": 1}', b"noir"]


def test_submit_survives_a_prompt_with_half_a_surrogate_pair(openai: Bench) -> None:
    with RawServer(each(says(200, JOB))) as server:
        outcome = submit(openai.at(server), replace(a_request(openai), prompt="half \ud800"))
    assert isinstance(outcome, port.Accepted)


def test_submit_sends_json_when_the_upstream_is_so_configured(openai: Bench) -> None:
    with RawServer(each(says(200, JOB))) as server:
        submit(openai.at(server, dialect=named("openai", body="json")), a_request(openai, image=PICTURE))
        sent = server.request()
    body = json.loads(sent.body)
    assert sent.headers["content-type"] == "application/json"
    assert (body["seconds"], body["prompt"]) == ("4", "a cät")
    assert body["input_reference"]["image_url"].startswith("data:image/png;base64,iVBO")


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ("bearer", "authorization", f"Bearer {SECRET}"),
        ("raw", "authorization", SECRET),
        ("header:api-key", "api-key", SECRET),
    ],
)
def test_key_goes_where_the_configured_auth_puts_it(bench: Bench, auth: str, header: str, value: str) -> None:
    with RawServer(each(says(200, JOB))) as server:
        bench.at(server, dialect=named(bench.dialect.facts.name, auth=auth)).poll("video_1", KEY)
        assert server.request().headers[header] == value


def test_no_authorization_is_sent_when_the_upstream_has_no_key(openai: Bench) -> None:
    with RawServer(each(says(200, JOB))) as server:
        openai.at(server).poll("video_1", port.Key(name="none", secret=""))
        assert "authorization" not in server.request().headers


def test_every_call_carries_the_dialect_s_query(openai: Bench) -> None:
    dialect = replace(openai.dialect, query={"api-version": "preview"})
    with RawServer(each(says(404))) as server:
        upstream = openai.at(server, dialect=dialect)
        submit(upstream, a_request(openai))
        upstream.poll("v", KEY)
        upstream.page(KEY, after="x&y")
        with upstream.content("v", KEY, urls=()):
            targets = [urlsplit(server.request().target) for _ in range(4)]
    assert all(parse_qs(target.query)["api-version"] == ["preview"] for target in targets)
    assert parse_qs(targets[2].query)["after"] == ["x&y"]


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (resets, "reset"),
        (cut_after(b'{"id": "vid', of=100), "short"),
        (says(502, b"<html>Bad Gateway</html>"), "HTTP 502"),
        (says(200, b"<html>Welcome</html>"), "not JSON"),
        (endless, "oversized"),
        (lambda conversation, _: conversation.send(b"SSH-2.0-hello\r\n\r\n"), "malformed"),
        (leads_to("http://127.0.0.1:1/v1/videos", 307), "redirect"),
    ],
    ids=["reset", "cut", "bad gateway", "html", "endless", "no http", "redirect"],
)
def test_submit_is_unknown_and_sent_once_when_its_answer_is_lost(bench: Bench, handler: Handler, reason: str) -> None:
    with RawServer(each(handler)) as server:
        outcome = submit(bench.at(server), a_request(bench))
        server.request()
        assert server.requests.empty()
    assert isinstance(outcome, port.Unknown)
    assert outcome.reason == reason
    assert SECRET not in repr(outcome)


@pytest.mark.parametrize("handler", [then_silence(b""), dripping(head(200, {"x": "y" * 500}))], ids=["silent", "drips"])
def test_submit_is_unknown_within_its_deadline_when_the_answer_is_slow(bench: Bench, handler: Handler) -> None:
    with RawServer(each(handler)) as server:
        started = time.monotonic()
        outcome = submit(bench.at(server, submit_timeout_s=WAIT_S), a_request(bench))
        took = time.monotonic() - started
    assert isinstance(outcome, port.Unknown)
    assert (outcome.reason, outcome.answer.status) == ("timeout", None)
    assert WAIT_S * 0.9 <= outcome.answer.elapsed_s <= took < WAIT_S + 2


def test_submit_is_surely_not_accepted_when_nobody_listens(bench: Bench, closed_port: int) -> None:
    outcome = submit(bench.at(url=f"http://{API}:{closed_port}/v1"), a_request(bench))
    assert isinstance(outcome, port.NotAccepted)
    assert outcome.reason == "refused"


def test_submit_is_surely_not_accepted_when_tls_fails(bench: Bench) -> None:
    with RawServer(lambda conversation: conversation.send(b"no TLS here, sorry\r\n\r\n")) as server:
        outcome = submit(bench.at(url=f"https://{API}:{server.port}/v1"), a_request(bench))
    assert isinstance(outcome, port.NotAccepted)
    assert outcome.reason == "tls"


def test_submit_sends_nothing_when_before_send_says_no(bench: Bench) -> None:
    asked: list[bool] = []

    def declined() -> bool:
        asked.append(True)
        return False

    with RawServer(trap) as server:
        outcome = bench.at(server).submit(a_request(bench), KEY, before_send=declined)
        assert server.requests.empty()
    assert outcome == port.NotSent()
    assert asked == [True]


def test_submit_takes_a_connection_of_its_own_each_time(bench: Bench) -> None:
    with RawServer(each(says(200, JOB))) as server:
        upstream = bench.at(server)
        submit(upstream, a_request(bench))
        submit(upstream, a_request(bench))
        assert server.connections == 2


def test_submit_tells_every_kind_of_refusal_apart(bench: Bench) -> None:
    blocked = {"error": {"code": "moderation_blocked", "message": "Blocked."}}
    answers = each(
        says(400, blocked),
        says(429, b"{}", retry_after="3"),
        says(401, b"{}"),
        says(403, {"error": {"code": "insufficient_user_quota", "message": "no"}}),
    )
    with RawServer(answers) as server:
        upstream = bench.at(server)
        refused, busy, auth, quota = (submit(upstream, a_request(bench)) for _ in range(4))
    assert isinstance(refused, port.Refused)
    assert (refused.code, refused.message) == ("content_policy_violation", "Blocked.")
    assert isinstance(busy, port.NotAccepted)
    assert busy.retry_after_s == 3.0
    assert isinstance(auth, port.KeyRefused)
    assert isinstance(quota, port.KeyRefused)
    assert (auth.reason, quota.reason) == ("auth", "quota")


def test_client_s_message_names_neither_the_upstream_nor_the_job_there(bench: Bench) -> None:
    words = f"job my_job at {API} wrote /srv/out/my_job.mp4, see https://{API}/log?key={SECRET}"
    failed = JOB | {"status": "failed", "error": {"code": "x", "message": words}}
    with RawServer(each(says(500, failed))) as server:
        outcome = bench.at(server).poll("my_job", KEY)
    assert isinstance(outcome, port.Failed)
    assert outcome.message == "job [hidden] at [hidden] wrote [path], see [link]"
    assert SECRET not in outcome.answer.body
    assert f"https://{API}/log?…" in outcome.answer.body


def test_poll_quotes_an_id_that_holds_slashes(bench: Bench) -> None:
    with RawServer(each(says(200, JOB))) as server:
        bench.at(server).poll(ODD_ID, KEY)
        sent = server.request()
    assert (sent.method, sent.target) == ("GET", bench.target("/v1/videos/video_bGl0%2FPn4%3D"))
    assert sent.headers[bench.key_header[0]] == bench.key_header[1]


def test_poll_follows_a_job_from_the_queue_to_its_end(bench: Bench) -> None:
    answers = each(
        says(200, JOB),
        says(200, JOB | {"status": "processing", "progress": "45%"}),
        says(200, JOB | {"status": "completed", "expires_at": 1795377547, "url": "https://cdn.example/v?sig=1"}),
        says(200, JOB | {"status": "completed", "error": {"code": "moderation_blocked", "message": "Blocked."}}),
        says(404, {"error": {"message": "Video not found"}}),
        says(401, b"{}"),
    )
    with RawServer(answers) as server:
        upstream = bench.at(server)
        outcomes = [upstream.poll("video_1", KEY) for _ in range(6)]
    kinds = [port.Unfinished, port.Unfinished, port.Finished, port.Failed, port.Missing, port.KeyRefused]
    assert [type(outcome) for outcome in outcomes] == kinds
    finished = outcomes[2]
    assert isinstance(finished, port.Finished)
    assert finished.content_urls == ("https://cdn.example/v?sig=1",)
    assert "sig=1" not in finished.answer.body


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (resets, "reset"),
        (cut_after(b'{"id": "video_1", "status": "fai', of=100), "short"),
        (endless, "oversized"),
        (says(503, b"<html>"), "HTTP 503"),
        (says(200, b"<html>Welcome</html>"), "not JSON"),
        (leads_to("http://127.0.0.1:1/login"), "redirect"),
    ],
    ids=["reset", "cut", "endless", "503", "html", "redirect"],
)
def test_poll_says_nothing_about_the_job_when_the_answer_breaks(bench: Bench, handler: Handler, reason: str) -> None:
    with RawServer(each(handler)) as server:
        outcome = bench.at(server).poll("video_1", KEY)
    assert isinstance(outcome, port.NoAnswer)
    assert outcome.reason == reason


@pytest.mark.parametrize("handler", [then_silence(b""), dripping(head(200, {"x": "y" * 500}))], ids=["silent", "drips"])
def test_poll_ends_within_its_deadline_when_the_answer_is_slow(bench: Bench, handler: Handler) -> None:
    with RawServer(each(handler)) as server:
        started = time.monotonic()
        outcome = bench.at(server, poll_timeout_s=WAIT_S).poll("video_1", KEY)
        took = time.monotonic() - started
    assert isinstance(outcome, port.NoAnswer)
    assert outcome.reason == "timeout"
    assert took < WAIT_S + 2


def test_poll_says_nothing_when_nobody_listens(bench: Bench, closed_port: int) -> None:
    outcome = bench.at(url=f"http://{API}:{closed_port}/v1").poll("video_1", KEY)
    assert isinstance(outcome, port.NoAnswer)
    assert outcome.reason == "refused"


@pytest.mark.parametrize("bench", [name for name in DIALECTS if DIALECTS[name].facts.can_list], indirect=True)
def test_list_is_walked_to_its_end_when_the_dialect_has_one(bench: Bench) -> None:
    entry = {"object": "video", "status": "queued", "created_at": 1795374887, "seconds": "4"}
    first = {"data": [entry | {"id": "c"}, entry | {"id": "b"}], "has_more": True, "last_id": "b"}
    last = {"data": [entry | {"id": "a"}], "has_more": False, "last_id": "a"}
    with RawServer(each(says(200, first), says(200, last))) as server:
        pages = list(port.all_videos(bench.at(server), KEY))
        queries = [parse_qs(urlsplit(server.request().target).query) for _ in range(2)]
    assert [video.upstream_job_id for page in pages if isinstance(page, port.Page) for video in page.videos] == [*"cba"]
    always = {"limit": ["100"], "order": ["desc"], **{name: [value] for name, value in bench.dialect.query.items()}}
    assert queries == [always, always | {"after": ["b"]}]


@pytest.mark.parametrize(
    "handler", [resets, says(500), says(200, b"<html>"), endless], ids=["reset", "500", "html", "endless"]
)
def test_list_proves_nothing_when_it_breaks(openai: Bench, handler: Handler) -> None:
    with RawServer(each(handler)) as server:
        assert isinstance(openai.at(server).page(KEY, after=None), port.NoAnswer)


@pytest.mark.parametrize(
    ("handler", "stopped"),
    [(says(200, {"deleted": True}), True), (says(400, b"{}"), False), (says(405), False), (resets, False)],
    ids=["200", "400", "405", "reset"],
)
def test_cancel_tells_whether_the_upstream_said_that_it_stopped(openai: Bench, handler: Handler, stopped: bool) -> None:
    with RawServer(each(handler)) as server:
        assert openai.at(server).cancel(ODD_ID, KEY) is stopped
        sent = server.request()
    assert (sent.method, sent.target) == ("DELETE", "/v1/videos/video_bGl0%2FPn4%3D")


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (says(200, {"data": []}), type(None)),
        (says(404, b"{}"), type(None)),
        (says(401, b"{}"), port.KeyRefused),
        (says(503), port.NoAnswer),
        (resets, port.NoAnswer),
    ],
    ids=["200", "404", "401", "503", "reset"],
)
def test_ping_asks_for_something_harmless(bench: Bench, handler: Handler, kind: type) -> None:
    with RawServer(each(handler)) as server:
        assert isinstance(bench.at(server).ping(KEY), kind)
        assert server.request().method == "GET"


def test_upstream_is_refused_when_its_url_is_none(openai: Bench) -> None:
    with pytest.raises(ValueError, match="upstream bench"):
        openai.at(url="api.upstream.test/v1")


def test_kept_connection_is_used_again_by_polls(openai: Bench) -> None:
    with RawServer(answering(200, json.dumps(JOB).encode())) as server:
        upstream = openai.at(server)
        for _ in range(3):
            assert isinstance(upstream.poll("video_1", KEY), port.Unfinished)
        assert server.connections == 1


def test_dialects_list_sizes_and_lengths_that_can_be_defaults(bench: Bench) -> None:
    facts = bench.dialect.facts
    assert facts.name in DIALECTS
    assert facts.prompt_max > 0
    for model in facts.models.values():
        assert list(model.seconds) == sorted(model.seconds)
    assert as_json(a_request(bench)).json is not None


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
