"""Azure OpenAI, and whoever keeps its spelling: the reference dialect with `api-key` and `api-version`.

Source: learn.microsoft.com, "Video generation with Sora" (its models were retired by 2026-10-15). The base URL ends in
`/openai/v1`; a model's name is that of a deployment, so it is configured where it is not `sora-2`. What keeps Sora's
spelling keeps Sora's demand on pictures, too: they have to be as large as the video.
"""

from __future__ import annotations

from gateway.upstreams.dialect import Auth, Dialect
from gateway.upstreams.port import DialectFacts, ModelFacts

AZURE = Dialect(
    facts=DialectFacts(
        name="azure",
        models={"sora-2": ModelFacts(sizes=("720x1280", "1280x720"), seconds=(4, 8, 12))},
        prompt_max=32000,
        can_list=True,
        can_cancel=True,
        can_remix=True,
        variants=("thumbnail", "spritesheet"),
        image_must_match_size=True,
    ),
    auth=Auth(header="api-key", prefix=""),
    query={"api-version": "preview"},
)
