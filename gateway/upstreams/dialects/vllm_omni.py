"""vLLM-Omni, a server of open models on one's own GPUs: any size and length, and a failed job as an HTTP error.

Source: https://docs.vllm.ai/projects/vllm-omni/en/latest/serving/videos_api/ and its release 0.30. It serves one model,
whose name has to be configured, from memory: after its restart a job is answered 404.
"""

from __future__ import annotations

from gateway.upstreams.dialect import Dialect
from gateway.upstreams.port import DialectFacts

VLLM_OMNI = Dialect(
    facts=DialectFacts(
        name="vllm-omni",
        models={},
        prompt_max=32000,
        can_list=True,
        can_cancel=True,
        extra=(
            "negative_prompt", "seed", "fps", "num_frames", "num_inference_steps", "guidance_scale", "guidance_scale_2",
            "flow_shift", "width", "height", "lora", "extra_params",
        ),
    ),
)  # fmt: skip
