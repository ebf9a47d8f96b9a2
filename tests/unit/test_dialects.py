"""The registry of dialects."""

from __future__ import annotations

import pytest

from gateway.upstreams.dialects import named


def test_registry_names_what_it_knows_when_asked_for_what_it_does_not() -> None:
    with pytest.raises(ValueError, match="apiyi, azure, litellm, openai, openrouter, sglang, vllm-omni"):
        named("opnai")
    with pytest.raises(ValueError, match="bearer, raw or header"):
        named("openai", auth="basic")
    with pytest.raises(ValueError, match="multipart or json"):
        named("openai", body="xml")
