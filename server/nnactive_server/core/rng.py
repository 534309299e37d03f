"""Random numbers that depend on what they are for, never on the order of the work.

A generator is keyed by everything that names its use, e.g. `(seed, step, case, group)`, so results
are the same for any number of workers, any visiting order, and after a restart.
"""

from __future__ import annotations

import hashlib

import numpy as np

Key = int | str


def stable_hash(*key: Key) -> int:
    """A 128-bit number that depends on the key alone: not on process, platform or hash seed."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def generator(*key: Key) -> np.random.Generator:
    """A numpy generator for this key."""
    return np.random.Generator(np.random.Philox(key=stable_hash(*key)))


def small_seed(*key: Key) -> int:
    """A 32-bit seed for libraries with global generators (`numpy.random.seed`, `torch.manual_seed`)."""
    return stable_hash(*key) & 0xFFFFFFFF
