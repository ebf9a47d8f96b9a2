"""The core: what a job is, how it moves, when it is tried again. Standard library only, no I/O."""
