"""The LiteLLM proxy, in front of whatever it is configured for: no list, no DELETE, and errors inside of errors.

Source: the proxy 1.106 itself. Its answer to a poll has another id than its answer to the submit, which stays the one
to ask with; its list asks a provider of its own choice. Models, sizes and lengths are those of what lies behind.
Where the connection behind it breaks it repeats the submit once by itself, and forgets the form: the refusal of that
repeat hides that the first answer was lost.
"""

from __future__ import annotations

from gateway.upstreams.dialect import Dialect
from gateway.upstreams.port import DialectFacts, ModelFacts

LITELLM = Dialect(
    facts=DialectFacts(
        name="litellm",
        models={"sora-2": ModelFacts(sizes=(), seconds=())},
        prompt_max=32000,
        can_list=False,
        can_cancel=False,
        extra=("negative_prompt", "seed", "fps"),
    ),
    ping_path="/models",
    repeats_blank=True,
)
