"""Statistics over seeds and test problems at once (see docs/statistics.md)."""
