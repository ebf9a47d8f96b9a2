"""Where several processes share their counters: decided before the first import of `prometheus_client`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def shared_counters(environ: MutableMapping[str, str] = os.environ) -> Iterator[str]:
    """Name a directory for the counters of this process and its children, new and removed at the end.

    One that the environment names already, as `gateway serve` does for its children, is taken as it is.
    """
    given = environ.get(VARIABLE)
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="gateway-metrics-", ignore_cleanup_errors=True) as made:
        environ[VARIABLE] = made
        try:
            yield made
        finally:
            environ.pop(VARIABLE, None)
