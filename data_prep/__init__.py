"""Preparation of datasets: each `python -m data_prep.NAME` writes one file that `fewshot.data.store` reads."""
