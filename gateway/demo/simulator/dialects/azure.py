"""The dialect of Azure OpenAI (learn.microsoft.com, video generation), as LiteLLM's adapter for it was seen to ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from werkzeug.datastructures import Headers

from gateway.demo.simulator.dialects.openai import OpenAI
from gateway.demo.simulator.protocol import Served


class Azure(OpenAI):
    """The reference dialect under another path, with the key in a header of its own."""

    name: ClassVar[str] = "azure"
    path: ClassVar[str] = "/openai/v1"
    pictures_match: ClassVar[bool] = True
    models: ClassVar[Mapping[str, Served]] = {
        "sora-2": Served(sizes=("720x1280", "1280x720"), seconds=(4, 8, 12)),
    }

    def key_of(self, headers: Headers) -> str:
        """Return the key of `api-key`, or a token sent as a bearer's."""
        return headers.get("api-key", "") or super().key_of(headers)
