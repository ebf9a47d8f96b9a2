"""The HTTP edge: requests become use cases of the core, and their results become the protocol's JSON."""
