from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import DatasetError
from nnactive_server.dataset import split_cases

CASES = st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=30)


@settings(deadline=None)
@given(cases=CASES, fraction=st.floats(0.01, 0.99), shuffled=st.randoms())
def test_every_case_is_on_one_side_whatever_the_order(
    cases: list[str], fraction: float, shuffled: object
) -> None:
    pool, test = split_cases(cases, fraction)
    assert sorted(pool + test) == sorted(cases)
    assert set(pool).isdisjoint(test)
    assert len(cases) < 2 or (len(pool) >= 1 and len(test) >= 1)
    expected = min(max(round(len(cases) * fraction), 1), len(cases) - 1) if len(cases) > 1 else 0
    assert len(test) == expected
    mixed = list(cases)
    shuffled.shuffle(mixed)  # type: ignore[attr-defined]
    assert split_cases(mixed, fraction) == (pool, test)


def test_another_process_and_hash_seed_splits_the_same() -> None:
    cases = [f"case_{i}" for i in range(40)]
    code = (
        "from nnactive_server.dataset import split_cases;"
        "print(','.join(split_cases([f'case_{i}' for i in range(40)])[1]))"
    )
    for hash_seed in ("1", "2"):
        env = {"PYTHONHASHSEED": hash_seed, "PATH": ""}
        shown = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        assert tuple(shown.stdout.strip().split(",")) == split_cases(cases)[1]


def test_a_new_case_moves_few_others() -> None:
    cases = [f"case_{i}" for i in range(40)]
    before, after = split_cases(cases)[1], split_cases([*cases, "new"])[1]
    assert len(set(before) ^ set(after)) <= 2


def test_salt_makes_another_split() -> None:
    cases = [f"case_{i}" for i in range(40)]
    assert split_cases(cases, salt="a") != split_cases(cases, salt="b")


def test_a_fraction_of_nothing_sets_no_case_aside() -> None:
    assert split_cases(["b", "a"], 0) == (("a", "b"), ())


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(DatasetError, match="test_fraction"):
        split_cases(["a", "b"], fraction)


def test_a_repeated_case_is_refused() -> None:
    with pytest.raises(DatasetError, match="twice"):
        split_cases(["a", "a"])
