from __future__ import annotations

import pytest

from nnactive_server.core.errors import QueryError
from nnactive_server.query import inverse_temperature


@pytest.mark.parametrize(
    ("schedule", "betas"),
    [
        ("paper", [1, 4.6416, 21.544, 100, 100, 100]),
        ("reference", [1, 3.1623, 10, 31.623, 100, 100]),
        ("constant", [1] * 6),
        ("none", [None] * 6),
    ],
)
def test_beta_over_four_planned_queries_and_two_more(schedule, betas):
    got = [inverse_temperature(schedule, step, 4) for step in range(6)]
    assert got == (betas if schedule == "none" else pytest.approx(betas, rel=1e-4))


@pytest.mark.parametrize("schedule", ["paper", "reference"])
def test_a_single_planned_query_starts_at_the_first_beta(schedule):
    assert inverse_temperature(schedule, 0, 1) == 1
    assert inverse_temperature(schedule, 1, 1) == 100


def test_first_and_last_beta_can_be_chosen():
    got = [inverse_temperature("paper", t, 3, first=2, last=8) for t in range(4)]
    assert got == pytest.approx([2, 4, 8, 8])


def test_an_unknown_schedule_is_refused_with_those_known():
    with pytest.raises(QueryError, match=r"'linear'.*'paper'"):
        inverse_temperature("linear", 0, 4)
