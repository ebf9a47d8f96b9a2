"""The measurements behind the README's numbers: `python -m tests.bench`. Nothing here passes or fails by time."""
