from __future__ import annotations

import pytest
from requests.structures import CaseInsensitiveDict

from gateway.outbound.retry_after import retry_after_s

NOW = 1796000000.0
"""Mon, 30 Nov 2026 00:53:20 GMT."""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "3"}, 3),
        ({"Retry-After": " 2.5 "}, 2.5),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "1e9"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "9999999"}, 86400),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "Mon, 30 Nov 2026 00:54:20 GMT"}, 60),
        ({"Retry-After": "Monday, 30-Nov-26 00:54:20 GMT"}, 60),
        ({"Retry-After": "Mon Nov 30 00:54:20 2026"}, 60),
        ({"Retry-After": "Mon, 30 Nov 2026 00:52:20 GMT"}, None),
        ({"Retry-After": "Sun, 29 Nov 2099 12:52:20 GMT"}, 86400),
        ({"Retry-After": "Sun, 32 Nov 2026 12:52:20 GMT"}, None),
        ({"Retry-After": "Sun, 29 Nov 99999 12:52:20 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"retry-after-ms": "x", "Retry-After": "9"}, 9),
        ({"llm_provider-retry-after": "7"}, 7),
        ({"Retry-After": "9", "llm_provider-retry-after": "7"}, 9),
        ({"Retry-After": "-1", "llm_provider-retry-after": "7"}, 7),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(CaseInsensitiveDict(headers), now=NOW) == seconds


def test_retry_after_is_clamped_to_what_the_caller_can_wait() -> None:
    assert retry_after_s({"retry-after": "700"}, now=NOW, most_s=600) == 600
