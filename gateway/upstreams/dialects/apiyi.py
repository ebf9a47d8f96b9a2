"""APIYI and its look-alikes (laozhang, Qiniu, crazyrouter, other new-api front ends): no list, no cancel, much drift.

Source: https://docs.apiyi.com/en/api-capabilities/sora-2/overview, the API manual in apiyi-api/ai-api-code-samples
(October 2025), and https://docs.laozhang.ai for `aspect_ratio`. The manual sends the key bare, today's pages send
`Bearer`; both are taken. Its grok-imagine models want a JSON body and are therefore configured, not listed. It names no
remix; a new-api front end that has one is configured as `openai`.
"""

from __future__ import annotations

from gateway.upstreams.dialect import Dialect
from gateway.upstreams.port import DialectFacts, ModelFacts

# Landscape comes first here: it is the default of the provider's own samples.
_SIZES = ("1280x720", "720x1280")
_VEO = ModelFacts(sizes=_SIZES, seconds=(4, 6, 8))

APIYI = Dialect(
    facts=DialectFacts(
        name="apiyi",
        models={
            "sora-2": ModelFacts(sizes=_SIZES, seconds=(10, 15)),
            "veo-3.1-fast-generate-preview": _VEO,
            "veo-3.1-generate-preview": _VEO,
        },
        prompt_max=1000,
        can_list=False,
        can_cancel=False,
        extra=("aspect_ratio",),
    ),
    ping_path="/models",
)
