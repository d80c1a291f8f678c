"""Backbones: frozen networks that learners on features start from."""
