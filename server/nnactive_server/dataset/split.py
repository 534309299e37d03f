"""Which cases are set aside for testing, decided by their names alone."""

from __future__ import annotations

from collections.abc import Iterable

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.rng import stable_hash


def split_cases(
    cases: Iterable[str], test_fraction: float = 0.25, salt: str = ""
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split cases into a pool to query from and a test set.

    Cases are ranked by a hash of their id, so the split depends neither on the order given, nor on
    a run's seed, nor on the process: every strategy and seed is judged on the same test cases.

    Args:
        cases: case ids.
        test_fraction: share of test cases, in [0, 1): `round(n * test_fraction)` of them, but at least
            one test and one pool case when there are two cases or more. 0 asks for no test cases.
        salt: another value gives another split.

    Returns:
        Pool and test ids, each sorted.

    Raises:
        DatasetError: an id repeats, or the fraction is out of range.
    """
    names = sorted(cases)
    if len(set(names)) != len(names):
        raise DatasetError("split: a case id is given twice")
    if not 0 <= test_fraction < 1:
        raise DatasetError(f"split: test_fraction must be at least 0 and below 1, got {test_fraction}")
    ranked = sorted(names, key=lambda name: (stable_hash("split", salt, name), name))
    count = _test_count(len(names), test_fraction)
    return tuple(sorted(ranked[count:])), tuple(sorted(ranked[:count]))


def _test_count(n: int, fraction: float) -> int:
    if fraction == 0 or n < 2:
        return 0
    return min(max(round(n * fraction), 1), n - 1)
