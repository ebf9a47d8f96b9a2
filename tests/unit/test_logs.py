"""Log lines: one format for all, and nothing secret in any of them."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.observability.gunicorn_log import PropagatingLogger
from gateway.observability.logs import configure_logs
from gateway.observability.redaction import is_harmless, redact, redact_fields

SIGNED = (
    "https://s3.example/films/a.mp4?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F20261122"
    "&X-Amz-Signature=5ec4e7"
)
SECRETS = ("hunter2", "5ec4e7", "AKIAEXAMPLE", "MDEyMzQ1Njc4")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where lines go; logging is put back afterwards."""
    root = logging.getLogger()
    before = root.handlers, root.level
    yield io.StringIO()
    root.handlers, level = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    "text",
    [
        f"fetching {SIGNED} failed",
        f'{{"url": "{SIGNED}"}}',
        "Max retries exceeded with url: /films/a.mp4?X-Amz-Signature=5ec4e7 (Caused by …)",
        "X-Amz-Signature=5ec4e7&X-Amz-Credential=AKIAEXAMPLE",
        "got video%3Furl%3Dhttps%3A%2F%2Fs3.example%2Fa%3FX-Amz-Credential%3DAKIAEXAMPLE%26X-Amz-Signature%3D5ec4e7",
        "and twice: X-Amz-Signature%253D5ec4e7%2526x",
        "postgresql+psycopg://gw:hunter2@db:5432/gw",
        "postgresql+psycopg://gw:hunt@hunter2@db:5432/gw",
        "https://user:hunter2@hooks.example/in?key=hunter2#hunter2",
        "GET /v1/videos?token=hunter2 HTTP/1.1",
        "Authorization: Bearer hunter2-hunter2",
        "{'Authorization': 'hunter2'}",
        "refused Bearer hunter2hunter2",
        "signing with whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
        "key sk-hunter2-hunter2 is refused",
        "key sgw_hunter2hunter2 is refused",
    ],
)
def test_redaction_leaves_no_secret_in_a_text(text: str) -> None:
    clean = redact(text)
    assert "***" in clean
    assert not [secret for secret in SECRETS if secret in clean]


@pytest.mark.parametrize(
    "text",
    [
        "video_01 is now rendering (12 %), why? nobody knows",
        "https://hooks.example/in/a@b answered 503",
        "POST /v1/videos 202 in 12 ms",
        "a basic check; the task-force; risk-free",
        "signature of v1 is missing",
    ],
)
def test_redaction_leaves_harmless_text_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_redaction_keeps_where_a_url_points() -> None:
    assert redact(SIGNED) == "https://s3.example/films/a.mp4?***"
    assert redact("http://u:p@h:1/x?y") == "http://***@h:1/x?***"


def test_redaction_masks_fields_by_name_and_reaches_into_containers() -> None:
    fields = {
        "authorization": "hunter2",
        "Cookie": "hunter2",
        "aws_secret_access_key": "hunter2",
        "webhook-signature": "v1,hunter2",
        "headers": {"Authorization": "hunter2"},
        "urls": [SIGNED, ("https://u:hunter2@h/",)],
        "error": ValueError("Bearer hunter2hunter2"),
        "raw": b"https://u:hunter2@h/",
        "attempt": 3,
        "secret_versions": 2,
        "api_key": None,
    }
    clean = redact_fields(fields)
    assert not [secret for secret in SECRETS if secret in repr(clean)]
    assert (clean["attempt"], clean["secret_versions"], clean["api_key"]) == (3, 2, None)


_SNIPPETS = (
    SIGNED, "Bearer hunter2hunter2", "ba\u017fic hunter2hunter2", "BAS\u0130C hunter2hunter2", "basic",
    "k-", "sk-hunter2", "a=b", "?", "/x?y",
    "whsec_MDEyMzQ1", "video_01abba", "\u212a", "\n", '"', "{'Authorization': 'hunter2'}",
)  # fmt: skip
_VALUES = st.one_of(
    st.none(), st.integers(), st.lists(st.sampled_from(_SNIPPETS)), st.binary(), st.sampled_from(_SNIPPETS), st.text(),
    st.lists(st.sampled_from([*_SNIPPETS, " "])).map("".join),
)  # fmt: skip


@given(fields=st.dictionaries(st.sampled_from(["url", "token", "cookie", "count", "name"]), _VALUES))
def test_what_is_taken_for_harmless_has_nothing_to_redact(fields: dict[str, object]) -> None:
    if is_harmless(fields, json.dumps(fields, default=repr)):
        assert redact_fields(fields) == fields


def test_most_lines_are_harmless() -> None:
    fields = {"method": "GET", "path": "/v1/videos/video_01abba", "status": 200, "ms": 1.5, "client": "shop"}
    assert is_harmless(fields, json.dumps(fields))


def test_our_lines_and_those_of_libraries_look_the_same_when_json(stream: io.StringIO) -> None:
    configure_logs(form="json", stream=stream)
    logging.getLogger("gateway.worker").info("submitted", extra={"job": "video_1", "url": SIGNED})
    logging.getLogger("some.library").warning("cannot reach %s", SIGNED)
    ours, theirs = lines(stream)
    assert ours["message"] == "submitted"
    assert ours["job"] == "video_1"
    assert ours.keys() - {"job", "url"} == theirs.keys()
    assert theirs["message"] == "cannot reach https://s3.example/films/a.mp4?***"
    assert "5ec4e7" not in stream.getvalue()


@pytest.mark.usefixtures("stream")
def test_a_line_needs_no_lock_of_its_handler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def handle(handler: logging.Handler, record: logging.LogRecord) -> bool:
        # As Python 3.13 has it: the lock is taken whether there is one or not.
        with handler.lock:  # type: ignore[union-attr]
            handler.emit(record)
        return True

    monkeypatch.setattr(logging.Handler, "handle", handle)
    with (tmp_path / "log").open("w+") as file:
        configure_logs(form="json", stream=file)
        logging.getLogger("some.library").warning("said")
    assert json.loads((tmp_path / "log").read_text())["message"] == "said"


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_is_redacted_and_shows_no_locals(form: str, stream: io.StringIO) -> None:
    configure_logs(form=form, stream=stream)
    local = "hunter2-in-a-local"
    try:
        raise ConnectionError(f"https://u:hunter2@h/?{local}")
    except ConnectionError:
        logging.getLogger("gateway").exception("poll failed")
        logging.getLogger("some.library").exception("failed")
    assert stream.getvalue().count("ConnectionError: https://***@h/?***") == 2
    assert "hunter2" not in stream.getvalue().replace('local = "hunter2-in-a-local"', "")


def test_level_holds_for_ours_and_libraries_and_silences_the_talkative(stream: io.StringIO) -> None:
    configure_logs(level="info", form="json", stream=stream)
    logging.getLogger("gateway").debug("no")
    logging.getLogger("some.library").debug("no")
    logging.getLogger("apscheduler.executors.default").info("no")
    logging.getLogger("apscheduler.scheduler").warning("no")
    logging.getLogger("apscheduler.executors.default").error("yes")
    assert [line["message"] for line in lines(stream)] == ["yes"]


def test_configuring_again_replaces_the_stream(stream: io.StringIO) -> None:
    configure_logs(form="json", stream=stream)
    second = io.StringIO()
    configure_logs(form="json", stream=second)
    logging.getLogger("gateway").info("once")
    assert (stream.getvalue(), len(lines(second))) == ("", 1)


def test_lines_are_json_when_the_stream_is_no_terminal_and_nothing_is_said(stream: io.StringIO) -> None:
    configure_logs(stream=stream)
    logging.getLogger("gateway").info("started")
    assert lines(stream)[0]["level"] == "info"


def test_console_lines_are_for_people(stream: io.StringIO) -> None:
    configure_logs(form="console", stream=stream)
    logging.getLogger("gateway").info("started", extra={"bind": "127.0.0.1:8080"})
    assert "started" in stream.getvalue()
    assert "bind=127.0.0.1:8080" in stream.getvalue()


def test_python_warnings_become_log_lines(stream: io.StringIO) -> None:
    configure_logs(form="json", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old thing", stacklevel=1)
    assert "old thing" in str(lines(stream)[0]["message"])


def test_gunicorn_lines_go_through_the_same_handler(stream: io.StringIO) -> None:
    from gunicorn.config import Config

    configure_logs(form="json", stream=stream)
    PropagatingLogger(Config()).info("Listening at: %s", "http://127.0.0.1:8080")
    (line,) = lines(stream)
    assert (line["message"], line["logger"]) == ("Listening at: http://127.0.0.1:8080", "gunicorn.error")


def test_keys_that_are_no_text_are_told_and_redacted_all_the_same(stream: io.StringIO) -> None:
    configure_logs(form="json", stream=stream)
    counts = {("a", 1): 2, 3: "Bearer hunter2hunter2", "b": None}
    logging.getLogger("gateway").info("counted", extra={"counts": counts})
    (line,) = lines(stream)
    assert line["counts"] == {"('a', 1)": 2, "3": "Bearer ***", "b": None}


def test_what_a_line_is_given_beside_its_words_are_fields_of_the_json() -> None:
    stream = io.StringIO()
    configure_logs(form="json", stream=stream)
    logging.getLogger("gateway.api").info("GET /v1/videos 200", extra={"request_id": "req_1", "status": 200})
    line = json.loads(stream.getvalue())
    assert (line["message"], line["request_id"], line["status"]) == ("GET /v1/videos 200", "req_1", 200)
