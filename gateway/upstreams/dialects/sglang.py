"""SGLang, a server of open models on one's own GPUs: content in a cloud store where it has one.

Source: release 0.5.23, `multimodal_gen/runtime/entrypoints/openai/`. It serves one model and takes any name for it.
Its list shows no prompts, so nothing in it can be told to be ours, and its DELETE does not stop a job. With a cloud
store `/content` answers 400, and the job's `url` is where the video lies.
"""

from __future__ import annotations

from gateway.upstreams.dialect import Dialect
from gateway.upstreams.port import DialectFacts, ModelFacts

SGLANG = Dialect(
    facts=DialectFacts(
        name="sglang",
        models={"sora-2": ModelFacts(sizes=(), seconds=())},
        prompt_max=32000,
        can_list=False,
        can_cancel=False,
        extra=("negative_prompt", "seed", "fps", "num_frames", "num_inference_steps", "guidance_scale"),
    ),
    content_first="urls",
)
