"""The paper's tables and figures by name: `python -m benchmarks.paper table1`."""
