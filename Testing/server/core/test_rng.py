from __future__ import annotations

import subprocess
import sys

import numpy as np

from nnactive_server.core.rng import generator, small_seed, stable_hash


def test_the_same_key_gives_the_same_numbers_in_another_process():
    code = "from nnactive_server.core.rng import stable_hash; print(stable_hash(7, 'case', 'plain'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == stable_hash(7, "case", "plain")


def test_every_part_of_a_key_matters():
    keys = [(1, "a"), (2, "a"), (1, "b"), ("1", "a"), (1, "a", "a"), ("a", 1), (11,), (1, 1)]
    assert len({stable_hash(*key) for key in keys}) == len(keys)


def test_generators_are_independent_of_each_other():
    first, second = generator(1, "x").random(2000), generator(1, "y").random(2000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    np.testing.assert_array_equal(first, generator(1, "x").random(2000))
    assert 0 <= small_seed("anything") < 2**32
