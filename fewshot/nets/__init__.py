"""Networks, as functions of their weights."""
