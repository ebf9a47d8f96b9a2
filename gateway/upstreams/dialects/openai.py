"""The reference dialect: OpenAI's Videos API as finally documented, and every exact clone of it.

Source: https://developers.openai.com/api/docs/guides/video-generation and the openapi.yaml of openai/openai-openapi,
August 2026. There is no cancel: DELETE is documented for finished videos only, and tried all the same. OpenAI itself
wanted a picture of the video's own dimensions; it is closed, and the clones that go on take any;
of one that does not, the settings say `image_must_match_size`.
"""

from __future__ import annotations

from gateway.upstreams.dialect import Dialect
from gateway.upstreams.port import DialectFacts, ModelFacts

_SECONDS = (4, 8, 12, 16, 20)
_STANDARD = ModelFacts(sizes=("720x1280", "1280x720"), seconds=_SECONDS)
_PRO = ModelFacts(
    sizes=("720x1280", "1280x720", "1024x1792", "1792x1024", "1080x1920", "1920x1080"),
    seconds=_SECONDS,
)

OPENAI = Dialect(
    facts=DialectFacts(
        name="openai",
        models={
            "sora-2": _STANDARD,
            "sora-2-pro": _PRO,
            "sora-2-2025-10-06": _STANDARD,
            "sora-2-2025-12-08": _STANDARD,
            "sora-2-pro-2025-10-06": _PRO,
        },
        prompt_max=32000,
        can_list=True,
        can_cancel=True,
        can_remix=True,
        variants=("thumbnail", "spritesheet"),
    ),
)
