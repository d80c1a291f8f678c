"""Datasets on disk, and the episodes drawn from them."""
