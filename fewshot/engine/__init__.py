"""The outer loop: meta-training, checkpoints, evaluation, statistics."""
