"""The operator's commands against a real installation: `gateway check` and `gateway keys`."""

from __future__ import annotations

import re

import pytest
import requests
from standardwebhooks import Webhook

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import World


def test_check_proves_a_good_installation_and_tells_no_secret(world: World) -> None:
    done = world.run("check")
    assert done.returncode == 0, done.stderr
    proven = [line.split(":")[0] for line in done.stdout.splitlines()]
    assert proven == ["ok      database", "ok      bucket", "ok      upstream key 1", "ok      webhook secret",
                      "ok      API keys"]  # fmt: skip
    assert world.spoken_secrets(done.stdout, done.stderr) == []


@pytest.mark.parametrize(
    ("named", "settings"),
    [
        ("database", {"GATEWAY_DATABASE_URL": "postgresql+psycopg://gw:Pa55-in-the-url@127.0.0.1:9/gw"}),
        ("bucket", {"GATEWAY_S3_BUCKET": "there-is-no-such-bucket"}),
        ("bucket", {"AWS_SECRET_ACCESS_KEY": "wrong-and-still-a-secret"}),
        ("upstream key 1", {"GATEWAY_UPSTREAM_KEY": "sk-wrong-and-still-a-secret"}),
    ],
)
def test_check_names_what_fails_and_tells_no_secret(
    named: str, settings: dict[str, str], make_world: MakeWorld
) -> None:
    world = make_world(GATEWAY_SECRET_KEY="k" * 40, **settings)
    done = world.run("check")
    assert done.returncode == 1
    assert done.stderr.startswith(f"FAILED  {named}: ")
    assert "Traceback" not in done.stderr
    said = done.stdout + done.stderr
    assert world.spoken_secrets(said) == []
    assert not [secret for secret in ("Pa55", "still-a-secret", "kkkk") if secret in said]


def test_a_start_without_credentials_of_the_bucket_says_that_no_video_can_be_stored(make_world: MakeWorld) -> None:
    missing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": "/nowhere"}
    done = make_world(**missing).run("prepare")
    assert done.returncode == 0, done.stderr
    assert "No finished video can be stored, credentials: the AWS chain has none." in done.stderr
    assert "No finished video" not in make_world().run("prepare").stderr


def test_a_setting_that_only_the_preparation_can_refuse_stops_the_start_with_one_line(make_world: MakeWorld) -> None:
    done = make_world(GATEWAY_UPSTREAM_DIALECT="martian").run("serve")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("gateway: GATEWAY_UPSTREAM_DIALECT: ")


def test_a_second_serve_on_the_same_database_or_address_is_refused(world: World) -> None:
    world.serve()
    again = world.run("serve")
    assert (again.returncode, "another `gateway serve` is running" in again.stderr) == (1, True)
    world.settings["GATEWAY_DATABASE_URL"] = "sqlite:///other.db"
    beside = world.run("serve")
    assert (beside.returncode, "cannot listen on" in beside.stderr) == (1, True)
    assert not (world.directory / "other.db").exists()


def test_a_client_made_by_keys_gets_callbacks_under_its_own_secret_until_its_key_is_revoked(world: World) -> None:
    world.serve()
    made = world.run("keys", "create", "bakery")
    told = dict(re.findall(r"^([a-z ]+): +(\S+)$", made.stdout, re.MULTILINE))
    assert told["key"] not in world.run("keys", "list").stdout
    world.inbox.trust(told["webhook secret"])
    world.http.headers["Authorization"] = f"Bearer {told['key']}"
    first = world.post("a cat of the bakery")["id"]
    callback = world.await_callback(first)
    Webhook(told["webhook secret"]).verify(callback.body, dict(callback.headers))
    rotated = world.run("keys", "secret", "bakery", "--rotate").stdout.strip()
    assert rotated != told["webhook secret"]
    second = world.await_callback(world.post("a second cat of the bakery")["id"])
    for secret in (told["webhook secret"], rotated):
        Webhook(secret).verify(second.body, dict(second.headers))
    assert world.run("keys", "revoke", told["id"]).returncode == 0
    assert "revoked" in world.run("keys", "list").stdout
    refused = world.http.get(f"{world.url}/v1/videos/{first}", timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert not [secret for secret in (told["key"], told["webhook secret"], rotated) if secret in world.logs()]


def test_no_secret_is_told_by_logs_errors_metrics_or_the_database(make_world: MakeWorld) -> None:
    world = make_world(GATEWAY_LOG_LEVEL="debug", GATEWAY_WEBHOOK_SCHEDULE_S="1")
    world.serve()
    world.inbox.answer_with(500)
    words = "sim:submit-401 sim:poll-401 sim:poll-502@2 sim:content-401"
    video = world.post("a cat in trouble")["id"]
    world.assert_done_once(video, "a cat in trouble")
    world.post(f"a cat in more trouble {words}")
    assert world.simulator.wait_for(lambda books: books.count("faults") >= 1, timeout_s=60)
    heard = [
        world.http.get(f"{world.url}/metrics", timeout=30).text,
        world.http.get(f"{world.url}/v1/videos/{video}/events", timeout=30).text,
        world.http.get(f"{world.url}/v1/videos/{video}/deliveries", timeout=30).text,
        requests.get(f"{world.url}/v1/videos", headers={"Authorization": f"{world.api_key}x"}, timeout=30).text,
    ]
    kept = [file.read_bytes().decode("latin-1") for file in world.directory.glob("gateway.db*") if file.is_file()]
    assert kept
    assert world.spoken_secrets(*heard, *kept) == []
