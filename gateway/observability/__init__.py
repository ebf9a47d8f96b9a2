"""Logs and metrics. A leaf: it knows nothing of videos but the words it is handed."""
