"""The general track: configuration, presets, experiment."""
