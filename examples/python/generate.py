"""Makes a video from a picture and a prompt: submits it, asks until it is final, and saves it.

pip install requests
SORA_URL=http://127.0.0.1:8080 SORA_KEY=sk-… python3 generate.py image.png '参考配图，使得动物们活跃起来' video.mp4

With SORA_CALLBACK_URL it ends once the video is accepted: the gateway tells that URL when it is final (receive.py).
"""

import hashlib
import os
import sys
import time
import uuid
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

VIDEOS = os.environ.get("SORA_URL", "http://127.0.0.1:8080") + "/v1/videos"
CALLBACK_URL = os.environ.get("SORA_CALLBACK_URL")

# Every request may be repeated, the POST too: under one Idempotency-Key it makes one video, however often it arrives.
retries = Retry(
    total=5, backoff_factor=0.5, status_forcelist={429, 500, 502, 503, 504}, allowed_methods=None, raise_on_status=False
)
gateway = requests.Session()
gateway.headers["Authorization"] = f"Bearer {os.environ.get('SORA_KEY')}"
gateway.mount(VIDEOS, HTTPAdapter(max_retries=retries))


def ask(method, url, **parts):
    answer = gateway.request(method, url, timeout=60, **parts)
    if answer.ok:
        return answer
    try:
        error = answer.json()["error"]
        reason = f"{error['message']} (code {error['code']}, param {error['param']})"
    except (ValueError, LookupError, TypeError):  # a proxy's answer, not the gateway's
        reason = answer.text[:300]
    sys.exit(f"HTTP {answer.status_code}: {reason}")


def submit(image, prompt):
    form = {"prompt": prompt, "size": "1280x720", "seconds": "4"}
    if CALLBACK_URL:
        form["callback_url"] = CALLBACK_URL
    key = str(uuid.uuid4())  # in a backend: what the video is for, such as the order's number
    with Path(image).open("rb") as picture:
        files = {"input_reference": picture}
        return ask("POST", VIDEOS, data=form, files=files, headers={"Idempotency-Key": key}).json()


def wait(video):
    while video["status"] in ("queued", "in_progress"):
        answer = ask("GET", f"{VIDEOS}/{video['id']}")
        video = answer.json()
        print(f"{video['status']} {video['progress']} %", flush=True)
        time.sleep(int(answer.headers.get("openai-poll-after-ms", 0)) / 1000)
    return video


def save(video, target):
    # The link carries its own permission and is good for a day: the key stays out of it.
    part, digest = Path(f"{target}.part"), hashlib.sha256()
    with requests.get(video["url"], stream=True, timeout=60) as answer, part.open("wb") as file:
        answer.raise_for_status()
        for block in answer.iter_content(1 << 20):
            file.write(block)
            digest.update(block)
            print(f"\r{file.tell():,} of {video['content']['bytes']:,} bytes", end="", flush=True)
    if digest.hexdigest() != video["content"]["sha256"]:
        sys.exit("\nthe download is damaged")
    part.replace(target)  # half a file never bears the name of a whole one
    print(f"\nsaved {target}")


def main(image, prompt, target="video.mp4"):
    video = submit(image, prompt)
    print(f"{video['id']} is accepted", flush=True)
    if CALLBACK_URL:
        return
    video = wait(video)
    if video["status"] != "completed":
        error = video["error"] or {}
        sys.exit(f"{video['id']} {video['status']}: {error.get('message')} (code {error.get('code')})")
    save(video, target)


if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
try:
    main(*sys.argv[1:])
except OSError as error:  # requests' own errors are OSErrors too
    sys.exit(str(error))
