"""The few-shot track: configuration, presets, experiment."""
