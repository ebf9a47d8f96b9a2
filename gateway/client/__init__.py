"""A client of a running gateway: what `gateway generate`, `watch` and `download` do."""
