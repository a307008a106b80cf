"""Seeds of single items, so that an item never depends on the order of a run."""

import hashlib

SEED_BITS = 63


def item_seed(run_seed: int, class_name: str, index: int) -> int:
    """Derive the seed of one item from the run's seed, its class and its index.

    Returns an integer in [0, 2**63), the same on every machine and Python version.
    """
    key = f"{run_seed}\x00{class_name}\x00{index}".encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - SEED_BITS)
