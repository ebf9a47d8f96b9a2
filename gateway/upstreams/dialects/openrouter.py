"""OpenRouter, which sells many vendors' models under one protocol near to this one: JSON only, no list, no cancel.

Source: https://openrouter.ai/docs/api_reference/videos and the PyPI package openrouter 1.3. The base URL is
`https://openrouter.ai/api/v1`; what a model takes stands in its `/videos/models`, so models are configured. Its `urls`
are open to whoever holds them and are therefore left alone: the content is fetched with the key.
"""

from __future__ import annotations

from gateway.upstreams.dialect import Dialect
from gateway.upstreams.encoding import Body, data_url
from gateway.upstreams.port import DialectFacts, VideoRequest

_OWN = ("model", "prompt", "duration", "size", "frame_images", "callback_url")


def as_order(request: VideoRequest) -> Body:
    """Return the JSON body: the length as the number `duration`, the picture as the first frame."""
    body: dict[str, object] = {name: value for name, value in request.extra.items() if name not in _OWN}
    body |= {"model": request.model, "prompt": request.prompt, "duration": request.seconds}
    if request.size:
        body["size"] = request.size
    if request.image is not None:
        link = {"url": data_url(request.image)}
        body["frame_images"] = [{"type": "image_url", "image_url": link, "frame_type": "first_frame"}]
    return Body(json=body)


OPENROUTER = Dialect(
    facts=DialectFacts(
        name="openrouter",
        models={},
        prompt_max=32000,
        can_list=False,
        can_cancel=False,
        extra=("generate_audio", "seed"),
    ),
    body=as_order,
    # Errors of its moderation quote the prompt.
    secret_fields=frozenset({"urls", "flagged_input"}),
    content_first="urls",
    content_path="/content?index=0",
    ping_path="/key",
)
