"""Accepting a video with a reference picture of 1 MB in a form, beside the same without a database and a bucket."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence

from PIL import Image

from tests.bench.children import Child
from tests.bench.gateway import Gateway, accepted
from tests.bench.load import prepared
from tests.bench.measure import Row, Scale, alternate, check
from tests.bench.scenarios.accept import FINISH

_CONNECTIONS = 8
"""As many as threads take large bodies at once."""
_WARM_S = 0.5
_SIZE = (1280, 720)
_BOUNDARY = "bench-boundary"


def run(scale: Scale) -> Sequence[Row]:
    """Measure SQLite with its usual durability; every picture must lie in the bucket."""
    picture = _picture()
    with (
        Child("tests.bench.films", "sink") as sink,
        Gateway(sink=sink.port) as gateway,
        Gateway() as floor,
        Child("tests.bench.load") as load,
    ):
        gateway.start_web("gateway", "api")
        floor.start_web("tests.bench.floor")
        body = gateway.directory / "body"
        body.write_bytes(_form(picture))

        def poster(target: Gateway, *, stores: bool) -> Callable[..., float]:
            head = {"type_": f"multipart/form-data; boundary={_BOUNDARY}", "length": body.stat().st_size}
            requests = [prepared("POST", "/v1/videos", key=key, **head) for key in target.keys.values()]  # type: ignore[arg-type]

            def post(seconds: float = scale.slice_s) -> float:
                before = target.scalar("SELECT count(*) FROM jobs")
                asked = {"requests": requests, "body": str(body), "connections": _CONNECTIONS, "seconds": seconds}
                found = load.ask(port=target.port, **asked)
                posted = accepted(found) if stores else 0
                rows = target.scalar("SELECT count(*) FROM jobs") - before
                check(rows == posted, f"{rows} rows for {found['statuses']}")
                kept = sink.ask(match="/reference")["sizes"]
                check(kept == [len(picture)] * posted, f"{len(kept)} pictures for {posted} posts")
                target.execute(FINISH)
                return float(found["per_s"])

            return post

        contenders = {"no database": poster(floor, stores=False), "SQLite": poster(gateway, stores=True)}
        for each in contenders.values():
            each(_WARM_S)
        samples = alternate(contenders, repetitions=scale.repetitions)
    return [
        Row(
            what=f"accept with a picture of {len(picture) / 1e6:.1f} MB in a form, SQLite",
            unit="req/s",
            ours=samples["SQLite"],
            limit=samples["no database"],
            of="the same, decoded, without database and bucket",
        )
    ]


def _picture() -> bytes:
    """Return a JPEG of about 1 MB: noise does not compress."""
    noise = Image.frombytes("RGB", _SIZE, os.urandom(_SIZE[0] * _SIZE[1] * 3))
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=94)
    return file.getvalue()


def _form(picture: bytes) -> bytes:
    fields = {"prompt": "A calico cat plays the piano", "model": "sora-2", "size": "x".join(map(str, _SIZE))}
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    file = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="input_reference"; filename="cat.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return "".join([*parts, file]).encode() + picture + f"\r\n--{_BOUNDARY}--\r\n".encode()
