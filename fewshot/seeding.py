"""One seed a run; every source of randomness gets its own, derived by name."""

import hashlib


def derive(seed: int, *names: str | int) -> int:
    """A seed for one purpose: the first 63 bits of SHA-256 over `seed` and `names`."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
