"""A video request as the body of a POST: a multipart form, or JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.upstreams.port import Image, VideoRequest

_SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}
_OWN = ("model", "prompt", "seconds", "size", "input_reference")

Part = tuple[str, tuple[str | None, bytes] | tuple[str | None, bytes, str]]
"""A form part as requests takes it. Without a file name it is a plain field, and the form is multipart all the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """Exactly one of the two is set."""

    parts: Sequence[Part] = field(default=(), repr=False)
    json: Mapping[str, object] | None = field(default=None, repr=False)


def multipart(request: VideoRequest) -> Body:
    """Return the form that every known upstream takes: `seconds` as text, the picture as the file `input_reference`."""
    fields = [("model", request.model), ("prompt", request.prompt), ("seconds", str(request.seconds))]
    fields += [("size", request.size)] if request.size else []
    fields += [(name, _form_text(value)) for name, value in request.extra.items() if name not in _OWN]
    # As bytes, so that half a surrogate pair in a prompt cannot break the request.
    parts: list[Part] = [(name, (None, value.encode("utf-8", "replace"))) for name, value in fields]
    if request.image is not None:
        parts.append(("input_reference", (_file_name(request.image), request.image.data, request.image.content_type)))
    return Body(parts=parts)


def as_json(request: VideoRequest) -> Body:
    """Return the JSON body of OpenAI's protocol: `seconds` as text, the picture as a data URL."""
    body: dict[str, object] = {name: value for name, value in request.extra.items() if name not in _OWN}
    body |= {"model": request.model, "prompt": request.prompt, "seconds": str(request.seconds)}
    if request.size:
        body["size"] = request.size
    if request.image is not None:
        body["input_reference"] = {"image_url": data_url(request.image)}
    return Body(json=body)


def data_url(image: Image) -> str:
    """Return the picture as a `data:` URL."""
    return f"data:{image.content_type};base64,{base64.b64encode(image.data).decode()}"


def _file_name(image: Image) -> str:
    return "input_reference" + _SUFFIXES.get(image.content_type, "")


def _form_text(value: object) -> str:
    """Return what a form can say of a JSON value: booleans as `true`, lists and objects as JSON text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
