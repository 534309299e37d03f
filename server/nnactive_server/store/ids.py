"""Ids that the server makes: opaque, unique, in the order they were made, safe in URLs and file names."""

from __future__ import annotations

import re
import secrets
import threading
import time

ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
"""What an id looks like: a ULID, 48 bits of milliseconds and 80 random bits in Crockford's base 32
(https://github.com/ulid/spec)."""
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_lock = threading.Lock()
_newest = 0


def new_id() -> str:
    """A new id, larger than every one this process made before, even when the clock is set back."""
    global _newest
    number = time.time_ns() // 1_000_000 << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    with _lock:
        _newest = number = max(number, _newest + 1)
    return "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))


def go_on_after(known: str) -> None:
    """Make every new id larger than one that another process made, perhaps by a clock that was ahead."""
    global _newest
    if ID.fullmatch(known):
        number = 0
        for digit in known:
            number = number << 5 | _DIGITS.index(digit)
        with _lock:
            _newest = max(_newest, number)
