"""Runs as jobs: what a list of them takes, and engines that run it, on this machine or on a cluster."""
