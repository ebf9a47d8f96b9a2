"""The dialects that the simulator speaks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.demo.simulator.dialects.apiyi import Apiyi
from gateway.demo.simulator.dialects.azure import Azure
from gateway.demo.simulator.dialects.litellm import LiteLLM
from gateway.demo.simulator.dialects.openai import OpenAI
from gateway.demo.simulator.dialects.openrouter import OpenRouter
from gateway.demo.simulator.dialects.sglang import SGLang
from gateway.demo.simulator.dialects.vllm_omni import VllmOmni

DIALECTS: Mapping[str, type[OpenAI]] = {
    dialect.name: dialect for dialect in (OpenAI, Apiyi, Azure, VllmOmni, SGLang, LiteLLM, OpenRouter)
}


def dialect_named(name: str) -> OpenAI:
    """Return the dialect. Raises ValueError, naming those there are."""
    try:
        return DIALECTS[name]()
    except KeyError:
        msg = f"no dialect {name!r}; there are {', '.join(DIALECTS)}"
        raise ValueError(msg) from None
