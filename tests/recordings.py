"""What real servers were heard to answer: LiteLLM's proxy 1.106 and vLLM-Omni 0.30, in `tests/data/transcripts`."""

from __future__ import annotations

from pathlib import Path

from requests.structures import CaseInsensitiveDict

from gateway.outbound.session import Reply

LITELLM = "litellm-client-side.txt"
VLLM_OMNI = "vllm-omni-0.30.txt"
DIALECT_OF = {LITELLM: "litellm", VLLM_OMNI: "vllm-omni"}

_TRANSCRIPTS = Path(__file__).parent / "data" / "transcripts"


def recorded(name: str, title: str) -> Reply:
    """Return the answer of one exchange of a transcript, by the start of its title."""
    text = (_TRANSCRIPTS / name).read_text(encoding="utf-8", errors="replace")
    (section,) = [part for part in text.split("\n=== ") if part.startswith(title + "\n")]
    lines = section.split("\n")
    heads = [line[2:] for line in lines if line.startswith("< ")]
    last = max(index for index, line in enumerate(lines) if line.startswith("< "))
    return Reply(
        status=int(heads[0].split()[0]),
        headers=CaseInsensitiveDict(line.split(": ", 1) for line in heads[1:]),
        body=lines[last + 1].encode(),
        truncated=False,
        elapsed_s=0.0,
        peer=None,
    )
