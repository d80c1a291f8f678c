"""How fast it is here: `python -m benchmarks.speed`."""
