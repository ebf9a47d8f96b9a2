"""Pictures that come inside of a URL."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from gateway.pictures.reader import refused


def from_data_url(url: str) -> bytes:
    """Return the bytes of a `data:` URL; raises InvalidField."""
    head, comma, text = url.partition(",")
    if not comma:
        raise refused("The data URL has no comma before its data.")
    try:
        raw = unquote_to_bytes(text)
        return base64.b64decode(raw, validate=True) if head.lower().endswith(";base64") else raw
    except (binascii.Error, ValueError) as error:
        raise refused("The data URL is not valid base64.") from error
