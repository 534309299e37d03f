from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core.economy import NOT_ENOUGH, stop_sentence
from nnactive_server.core.errors import LoopError, NNActiveError
from nnactive_server.evaluation import fg_efficiency
from nnactive_server.study.analysis import Setting, StudyResults, compute, read_study
from nnactive_server.study.analysis.compare import agreements, rankings, shown_rankings
from nnactive_server.study.analysis.cost import Prices, saving_sentences, study_cost
from nnactive_server.study.analysis.scores import next_cycle, saving, score
from testkit.study_folder import add_full, add_run

LOW, HIGH = (Setting("Organs", regime, "fast-cpu") for regime in ("low", "high"))


def test_scores_of_a_strategy_by_hand(tmp_path: Path) -> None:
    for seed, dice in ((1, [0.5, 0.7, 0.8]), (2, [0.4, 0.6, 0.9])):
        add_run(tmp_path, "bald", seed, dice, classes={"liver": dice, "lesion": [d / 2 for d in dice]})
    add_full(tmp_path, 0.9)
    found = score(read_study(tmp_path), LOW, "bald")
    assert found.aubc == pytest.approx([(0.6 + 0.75) / 2, (0.5 + 0.75) / 2])
    assert found.final == pytest.approx([0.8, 0.9])
    assert found.classes["lesion"] == pytest.approx([0.4, 0.45])
    near, nearer = found.targets
    assert near.dice == pytest.approx(0.855)
    # seed 2 crosses 0.855 between 20 and 30 boxes, 0.04 and 0.06 of a million voxels; seed 1 never
    part = (0.855 - 0.6) / 0.3
    assert near.patches == pytest.approx([math.inf, 20 + 10 * part])
    assert near.foreground_voxels == pytest.approx([math.inf, 40_000 + 20_000 * part])
    assert (near.reached, nearer.reached) == (1, 1)


def test_efficiency_is_fitted_over_all_seeds(results: StudyResults) -> None:
    found = score(results, LOW, "clasp-pe")
    shares, dice = (results.curves(LOW, "clasp-pe", name) for name in ("foreground_fraction", "dice"))
    assert found.ours.gamma == fg_efficiency(shares, dice, 0.91).gamma
    assert found.reference.spread == fg_efficiency(shares, dice, 0.91, "reference").spread
    assert found.ours.identifiable


def test_without_all_labels_there_is_no_efficiency_and_no_target(tmp_path: Path) -> None:
    add_run(tmp_path, "bald", 1, [0.5, 0.6])
    found = score(read_study(tmp_path), LOW, "bald")
    assert "all labels" in found.ours.problem
    assert found.targets == ()


def test_strategies_that_some_setting_lacks_are_not_ranked(tmp_path: Path) -> None:
    for regime in ("low", "high"):
        for number, strategy in enumerate(("random", "bald", "clasp-pe")):
            for seed in (1, 2):
                dice = [0.5, 0.6 + 0.1 * number + 0.01 * seed]
                add_run(tmp_path, strategy, seed, dice, place=("Organs", regime, "fast-cpu"))
    add_run(tmp_path, "badge", 1, [0.5, 0.99])
    analysis = compute(read_study(tmp_path))
    final = next(r for r in analysis.rankings if (r.metric, r.block) == ("Final Dice", "seed"))
    assert final.left_out == ("badge",)
    assert final.test.methods == ("clasp-pe", "bald", "random")
    assert final.test.mean_ranks == pytest.approx([1, 2, 3])
    assert final.test.blocks == 4


def test_rank_plots_use_seeds_until_there_are_many_settings(results: StudyResults) -> None:
    scores = compute(results).scores
    shown = {r.metric: r.block for r in shown_rankings(rankings(scores))}
    assert shown == {"AUBC": "seed", "Final Dice": "seed", "FG-Eff": "setting"}


def test_settings_that_rank_alike_have_tau_one(results: StudyResults) -> None:
    found = {a.metric: a for a in agreements(compute(results).scores)}
    assert (found["Final Dice"].first, found["Final Dice"].second) == (LOW, HIGH)
    assert found["Final Dice"].found.tau == pytest.approx(1)
    assert found["Final Dice"].strategies == 4


def test_savings_pair_the_seeds(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        add_run(tmp_path, "random-fg-66", seed, [0.5, 0.6, 0.7], shares=[0.01, 0.03, 0.05], seconds=60)
        add_run(tmp_path, "bald", seed, [0.5, 0.7 + 0.01 * seed, 0.8], shares=[0.01, 0.02, 0.03], seconds=80)
    add_run(tmp_path, "bald", 9, [0.5, 0.5, 0.5])  # no partner
    found = saving(read_study(tmp_path), LOW, "bald")
    # 0.7 is reached after 10 + 10 x 0.2 / (0.2 + 0.01 seed) boxes instead of 30
    by_hand = [1 - (10 + 10 * 0.2 / (0.2 + 0.01 * seed)) / 30 for seed in (1, 2, 3)]
    assert found.patches.count == 3
    assert found.patches.mean == pytest.approx(np.mean(by_hand))
    assert found.foreground.mean == pytest.approx(
        np.mean([1 - (0.01 + 0.01 * 0.2 / (0.2 + 0.01 * seed)) / 0.05 for seed in (1, 2, 3)]), rel=1e-3
    )
    assert found.dice.mean == pytest.approx(0.1)
    assert found.compute_seconds == pytest.approx(3 * 20)
    assert found.baseline_patches == 30


def test_no_baseline_means_no_saving(tmp_path: Path) -> None:
    add_run(tmp_path, "bald", 1, [0.5, 0.6])
    results = read_study(tmp_path)
    assert compute(results).savings == ()
    with pytest.raises(NNActiveError, match="random-fg-66"):
        saving(results, LOW, "bald")
    with pytest.raises(NNActiveError, match="finished runs of both"):
        study_cost(results)


def test_two_seeds_are_not_enough_data_to_say(tmp_path: Path) -> None:
    for seed in (1, 2):
        add_run(tmp_path, "random-fg-66", seed, [0.5, 0.6, 0.7])
        add_run(tmp_path, "bald", seed, [0.5, 0.7, 0.8])
    (cost,) = study_cost(read_study(tmp_path), Prices(60))
    words = " ".join(cost.sentences)
    assert f"{NOT_ENOUGH}; 2 paired runs, at least 3 are needed" in words
    assert "minutes" not in words
    assert cost.next.gain.verdict == NOT_ENOUGH
    assert "too few cycles" in words


def test_cost_in_minutes_and_money(results: StudyResults) -> None:
    found = {(c.saving.strategy, c.saving.setting): c for c in study_cost(results, Prices(120, 60, 6))}
    assert len(found) == 6
    cost = found["clasp-pe", LOW]
    assert cost.saving.patches.known
    # 50 boxes of the baseline at 2 minutes; a minute of work costs 1; computing: 150 s more, at 0.1 a minute
    assert cost.minutes.mean == pytest.approx(cost.saving.patches.mean * 100)
    assert cost.money.mean == pytest.approx(cost.minutes.mean - 0.25)
    assert cost.money.low == pytest.approx(cost.minutes.low - 0.25)
    words = " ".join(cost.sentences)
    assert f"saves {100 * cost.saving.patches.mean:.0f} % of the patches" in words
    assert f"{cost.minutes.mean:.0f} minutes saved" in words
    assert "computes 2 min 30 s more" in words
    assert cost.document()["patches_saved"]["mean"] == cost.saving.patches.mean


def test_a_worse_strategy_needs_more(results: StudyResults) -> None:
    (cost,) = study_cost(results, strategy="random")[:1]
    assert cost.saving.patches.high < 0
    assert "% more patches" in saving_sentences(cost.saving)[0]


@pytest.mark.parametrize("prices", [{"seconds_per_patch": 0}, {"clinician_hour": -1}, {"machine_hour": -1}])
def test_prices_are_checked(prices: dict) -> None:
    with pytest.raises(NNActiveError, match="cost"):
        Prices(**prices)


def test_the_next_cycle_is_as_large_as_the_last(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        add_run(tmp_path, "bald", seed, [0.5, 0.7, 0.8, 0.85, 0.875])
    gain = next_cycle(read_study(tmp_path), LOW, "bald").gain
    assert gain.mean == pytest.approx(0.0125, rel=0.1)
    assert "worth it, expected gain of Mean Dice +1.2" in stop_sentence(gain)


def test_a_study_without_a_finished_experiment_says_so(tmp_path: Path) -> None:
    add_run(tmp_path, "bald", 1, [0.5], planned=5)
    with pytest.raises(LoopError, match=r"no experiment is finished yet.*1 of 5"):
        compute(read_study(tmp_path))
