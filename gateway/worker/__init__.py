"""The worker: it takes what is due and moves each job one status at a time."""
