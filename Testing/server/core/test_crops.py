from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.crops import pack_crop, unpack_crop
from nnactive_server.core.errors import StoreError

SIZE = (2, 3, 4)
GOOD = pack_crop(np.arange(24).reshape(SIZE))


@settings(deadline=None, max_examples=50)
@given(size=st.tuples(*[st.integers(1, 6)] * 3), seed=st.integers(0, 999))
def test_a_crop_comes_back_as_it_was(size: tuple[int, int, int], seed: int) -> None:
    crop = np.random.default_rng(seed).integers(0, 256, size)
    # Neither order in memory nor type matters.
    for given_crop in (crop, np.asfortranarray(crop), crop.astype(np.uint8)):
        np.testing.assert_array_equal(unpack_crop(pack_crop(given_crop), size, "crop"), crop)


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"", "exactly 24"),
        (b"no zlib at all", "damaged"),
        (GOOD[:-3], "exactly 24"),
        (GOOD[:6] + bytes([GOOD[6] ^ 1]) + GOOD[7:], "damaged|exactly"),
        (GOOD + b"more", "exactly 24"),
        (zlib.compress(bytes(23)), "exactly 24"),
        (zlib.compress(bytes(10_000_000)), "exactly 24"),
    ],
)
def test_what_does_not_fill_the_box_is_refused(packed: bytes, words: str) -> None:
    with pytest.raises(StoreError, match=f"this file: .*({words})"):
        unpack_crop(packed, SIZE, "this file", StoreError)
