"""Pre-training of backbones: configuration and experiment."""
