"""What the next cycle will bring, from results of trainings as they are stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.economy import NOT_ENOUGH
from nnactive_server.evaluation.saving import next_gain
from nnactive_server.jobs.outlook import outlook

RISING = (0.5, 0.7, 0.8, 0.85, 0.875)


def trained(
    cycle: int,
    held_out: dict[str, float | None] | None,
    before: dict[str, float | None] | None = None,
    independent: bool = True,
    patches: int | None = None,
    proposed: int = 10,
) -> dict[str, Any]:
    return {
        "patches": 10 * (cycle + 1) if patches is None else patches,
        "dice_per_class": held_out,
        "before_training": before,
        "independent": independent,
        "proposed": proposed,
    }


def gain_of(told: dict[str, Any]) -> tuple[Any, ...]:
    return told["low"], told["mean"], told["high"], told["verdict"]


def by_hand(amounts: list[int], dice: Any, since: int) -> tuple[Any, ...]:
    found = next_gain(amounts, dice, 10, since=since)
    return found.low, found.mean, found.high, found.verdict


def test_members_from_random_weights_are_judged_on_what_they_held_out() -> None:
    told = outlook([trained(n, {"a": d}, {"a": 0.1}) for n, d in enumerate(RISING)])
    assert (told["judged_on"], told["trainings"], told["patches"]) == ("held-out", 5, 10)
    assert gain_of(told) == by_hand([10, 20, 30, 40, 50], RISING, 50)
    assert told["verdict"] == "go on"


def test_members_that_go_on_are_judged_on_answers_they_had_not_seen() -> None:
    # By heart they are perfect, and the curve of what they hold out would say stop.
    dice = (None, *RISING)
    results = [
        trained(n, {"a": 0.99}, None if d is None else {"a": d}, independent=False)
        for n, d in enumerate(dice)
    ]
    told = outlook(results)
    assert (told["judged_on"], told["trainings"]) == ("before-training", 5)
    # The model after training n is judged by training n + 1, and the next cycle follows the sixth.
    assert gain_of(told) == by_hand([10, 20, 30, 40, 50], RISING, 60)
    assert told["verdict"] == "go on"


def test_one_training_that_went_on_is_enough_to_distrust_the_held_out_curve() -> None:
    results = [trained(n, {"a": d}, {"a": d}, independent=n != 2) for n, d in enumerate(RISING)]
    assert outlook(results)["judged_on"] == "before-training"


def test_a_flat_curve_says_stop() -> None:
    told = outlook([trained(n, {"a": d}) for n, d in enumerate((0.5, 0.88, 0.8802, 0.8799, 0.8801))])
    assert told["verdict"] == "stop"


def test_only_classes_that_every_cycle_knows_count() -> None:
    results = [trained(n, {"a": d, "rare": 0.1 if n == 4 else None}) for n, d in enumerate(RISING)]
    assert gain_of(outlook(results)) == gain_of(outlook([trained(n, {"a": d}) for n, d in enumerate(RISING)]))
    strangers = [trained(n, {"a": d} if n % 2 else {"b": d}) for n, d in enumerate(RISING)]
    assert outlook(strangers)["mean"] is None


@pytest.mark.parametrize(
    "results",
    [
        [],
        [trained(0, {"a": 0.5})],
        [trained(n, {"a": d}) for n, d in enumerate(RISING[:3])],
        [trained(n, None) for n in range(6)],
        [trained(n, {"a": None}) for n in range(6)],
        [trained(n, {"a": d}, patches=10) for n, d in enumerate(RISING)],
        [trained(n, {"a": d}, patches=100 - n) for n, d in enumerate(RISING)],
        [trained(n, {"a": d}, proposed=0) for n, d in enumerate(RISING)],
    ],
    ids=["none", "one", "three", "nothing known", "no class", "no answer", "fewer answers", "no room"],
)
def test_what_is_no_curve_is_not_enough_data(results: list[dict[str, Any]]) -> None:
    assert gain_of(outlook(results)) == (None, None, None, NOT_ENOUGH)


dice = st.none() | st.dictionaries(st.sampled_from("ab"), st.none() | st.floats(0, 1), max_size=2)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 100), dice, dice, st.booleans(), st.integers(0, 30)),
        max_size=7,
    )
)
def test_no_history_can_end_a_training_with_an_error(history: list[tuple[Any, ...]]) -> None:
    told = outlook(
        [
            trained(0, held_out, before, alone, patches, proposed)
            for patches, held_out, before, alone, proposed in history
        ]
    )
    low, mean, high, verdict = gain_of(told)
    assert (mean is None) == (low is None) == (high is None)
    if mean is None:
        assert verdict == NOT_ENOUGH
    else:
        assert low <= high
