"""Receives callbacks with Flask: verifies each, answers at once, and saves the finished videos. It needs no API key.

pip install flask requests standardwebhooks
SORA_WEBHOOK_SECRET=whsec_… PORT=9000 python3 receive.py
"""

import hashlib
import os
import queue
import threading
from pathlib import Path

import requests
from flask import Flask, request
from standardwebhooks import Webhook, WebhookVerificationError

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1 << 20  # a larger body is 413, unread
webhook = Webhook(os.environ["SORA_WEBHOOK_SECRET"])
# In a backend both are in the database: what was answered with 204 is not sent again.
events, seen = queue.Queue(), {}


@app.post("/hook")
def receive():
    try:
        # The raw bytes, a timestamp at most five minutes off, any of the signatures, compared in constant time.
        event = webhook.verify(request.get_data(), dict(request.headers))
    except (WebhookVerificationError, ValueError) as error:
        return f"{error}\n", 400
    if seen.setdefault(request.headers["webhook-id"], event) is event:  # a repeat has the id of the first
        events.put(event)
    return "", 204


def work():
    while True:
        event = events.get()
        video = event["data"]
        try:
            if event["type"] == "video.completed":
                save(video, f"{video['id']}.mp4")
            elif event["type"] == "video.failed":
                print(f"{video['id']} failed: {video['error']['message']} (code {video['error']['code']})", flush=True)
            else:
                print(f"{video['id']} {event['type']}", flush=True)
        except OSError as error:  # requests' own errors are OSErrors too
            print(f"{video['id']} is not saved: {error}", flush=True)


def save(video, target):
    part, digest = Path(f"{target}.part"), hashlib.sha256()
    with requests.get(video["url"], stream=True, timeout=60) as answer, part.open("wb") as file:
        answer.raise_for_status()
        for block in answer.iter_content(1 << 20):
            file.write(block)
            digest.update(block)
    if digest.hexdigest() != video["content"]["sha256"]:
        raise OSError("the download is damaged")
    part.replace(target)  # half a file never bears the name of a whole one
    print(f"{video['id']} is saved: {target}", flush=True)


threading.Thread(target=work, daemon=True).start()
app.run(port=int(os.environ.get("PORT", "9000")))
