"""The simulator's films and pictures: ranges, expiry, redirects, downloads that stall or never end."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from gateway.demo import mp4
from tests.service.simulator.driver import Client


def test_content_of_any_size_comes_in_ranges_and_with_the_hash_that_the_control_path_names(
    start: Callable[..., Client], tmp_path: Path
) -> None:
    client = start(video_bytes=3_000_000)
    ids = [client.made(f"film {number}") for number in range(2)]
    films = [client.get(f"/{video_id}/content").content for video_id in ids]
    assert [len(film) for film in films] == [3_000_000, 3_000_000]
    assert films[0] != films[1]
    named = client.raw("GET", f"/_simulator/videos/{ids[0]}").json()
    assert (named["bytes"], named["sha256"]) == (3_000_000, hashlib.sha256(films[0]).hexdigest())

    part = client.get(f"/{ids[0]}/content", headers={"Range": "bytes=2500000-2600000"})
    assert (part.status_code, part.headers["Content-Range"]) == (206, "bytes 2500000-2600000/3000000")
    assert part.content == films[0][2_500_000:2_600_001]
    assert client.get(f"/{ids[0]}/content", headers={"Range": "bytes=-5"}).content == films[0][-5:]
    assert client.get(f"/{ids[0]}/content", headers={"Range": "bytes=4000000-"}).status_code == 416

    path = tmp_path / "film.mp4"
    path.write_bytes(films[0])
    assert mp4.probe(path).duration == 4.0


@pytest.mark.parametrize(("variant", "kind"), [("thumbnail", "WEBP"), ("spritesheet", "JPEG")])
def test_a_variant_is_a_picture(client: Client, variant: str, kind: str) -> None:
    answer = client.get(f"/{client.made()}/content", params={"variant": variant})
    assert answer.headers["Content-Type"] == f"image/{kind.lower()}"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == kind


def test_content_is_refused_before_completion_and_after_its_expiry(client: Client) -> None:
    video_id = client.submit("a cat sim:expires=0").json()["id"]
    assert client.get(f"/{video_id}/content").json()["error"]["code"] == "not_ready"
    client.simulator.render()
    assert client.get(f"/{video_id}").json()["status"] == "completed"
    answer = client.get(f"/{video_id}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "content_expired")


def test_a_redirect_leads_to_a_signed_path_on_the_origin_it_names(client: Client) -> None:
    port = client.simulator.url.rsplit(":", 1)[1]
    video_id = client.made(f"a cat sim:content-redirect=http://localhost:{port}")
    answer = client.get(f"/{video_id}/content")
    where = answer.headers["Location"]
    assert (answer.status_code, where.startswith(f"http://localhost:{port}/_simulator/files/")) == (302, True)
    here = where.replace("localhost", "127.0.0.1")
    assert client.raw("GET", here, headers={"Authorization": None}).content[4:8] == b"ftyp"
    assert client.raw("GET", here.split("?")[0], headers={"Authorization": None}).status_code == 403
    assert client.raw("GET", here, headers={"Authorization": "sk-1"}).status_code == 200
    books = client.simulator.books()
    assert (books.count("files"), books.count("files_with_key")) == (3, 1)


def test_a_stalled_content_keeps_the_connection_until_the_client_goes(client: Client) -> None:
    video_id = client.made("a cat sim:content-stall=100")
    # Encoded before the clock of the time-out runs.
    client.simulator.content_of(video_id)
    with client.get(f"/{video_id}/content", stream=True, timeout=0.3) as answer:
        assert answer.raw.read(100, decode_content=False)[4:8] == b"ftyp"
        with pytest.raises(Exception, match="timed out"):
            answer.raw.read(1)


def test_an_endless_content_goes_on_past_the_film(client: Client) -> None:
    video_id = client.made("a cat sim:content-endless")
    film = client.simulator.content_of(video_id)
    assert film is not None
    with client.get(f"/{video_id}/content", stream=True) as answer:
        assert "Content-Length" not in answer.headers
        assert len(answer.raw.read(film.length + 5_000_000)) == film.length + 5_000_000
