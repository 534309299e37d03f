"""The figures of a study. Each stands alone: what its bands and bars mean is written in it or its caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation.comparison import PenaltyMatrix
from nnactive_server.evaluation.curves import fg_start
from nnactive_server.evaluation.plots import (
    COLOURS,
    count_axis,
    curve_style,
    dice_axis,
    legend_below,
    plain_text,
    share_axis,
)
from nnactive_server.study.analysis.compare import Ranking
from nnactive_server.study.analysis.results import Setting, StudyResults
from nnactive_server.study.analysis.scores import Score

LEAST_DICE = 0.04
"""Smallest range of a Dice axis: strategies may differ by 0.005, which should be seen, but not look large."""
HATCHES = ("", "//", "..", "xx")


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, the name of its file and what it shows."""

    name: str
    figure: Figure
    caption: str


def learning_curves(results: StudyResults, setting: Setting) -> Figure:
    """Mean Dice of every strategy over annotated patches (left) and foreground (right).

    Lines are means over seeds, bands one standard deviation to either side.
    """
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    seen: list[float] = []
    for strategy in results.strategies(setting):
        number = _number(results, strategy)
        dice = results.curves(setting, strategy, "dice")
        for axes, column in ((left, "patches"), (right, "foreground_fraction")):
            x = results.curves(setting, strategy, column).mean(axis=0)
            _band(axes, x, dice, number, strategy)
        seen += [*(dice.mean(axis=0) - _spread(dice)), *(dice.mean(axis=0) + _spread(dice))]
    full = results.full_dice(setting)
    for axes in (left, right):
        _all_labels(axes, full)
        dice_axis(axes, [*seen, full], LEAST_DICE)
    patches = [row.patches for row in results.rows if row.setting == setting]
    count_axis(left, "annotated patches (boxes)", patches)
    share_axis(right, _shares(results, setting))
    left.set_ylabel("Mean Dice")
    figure.suptitle(plain_text(str(setting)), fontsize=11)
    legend_below(figure, left)
    return figure


def efficiency_fits(results: StudyResults, setting: Setting, scores: Sequence[Score]) -> Figure:
    """Every seed and cycle, and the curve whose rate is FG-Eff, where the rate can be told."""
    figure = Figure(figsize=(9.0, 4.8), layout="constrained")
    axes = figure.subplots()
    full = results.full_dice(setting)
    seen = [full]
    for entry in (s for s in scores if s.setting == setting):
        share = results.curves(setting, entry.strategy, "foreground_fraction")
        dice = results.curves(setting, entry.strategy, "dice")
        style = curve_style(_number(results, entry.strategy))
        axes.scatter(
            share, dice, s=16, color=style["color"], marker=style["marker"], alpha=0.55, linewidths=0
        )
        seen += dice.ravel().tolist()
        name = plain_text(entry.strategy)
        if entry.ours.identifiable:
            x0, y0 = fg_start(share, dice, full)
            x = np.linspace(x0, share.max(), 100)
            y = full - (full - y0) * np.exp(-entry.ours.gamma * (x - x0))
            axes.plot(x, y, **(style | {"marker": ""}))
            axes.plot([], [], label=f"{name}, γ = {entry.ours.gamma:.1f}", **style)
        else:
            axes.plot([], [], label=f"{name}, not identifiable", **(style | {"linestyle": ""}))
    _all_labels(axes, full)
    dice_axis(axes, seen, LEAST_DICE)
    share_axis(axes, _shares(results, setting))
    axes.set_ylabel("Mean Dice")
    axes.set_title(plain_text(f"FG-Eff, {setting}"), fontsize=11)
    legend_below(figure, axes)
    return figure


def penalty_heat_map(matrix: PenaltyMatrix) -> Figure:
    """The pairwise penalty matrix with its mean row; numbers are percent.

    Raises:
        NNActiveError: no method.
    """
    n = len(matrix.methods)
    if n == 0:
        raise NNActiveError("PPM figure: there is no method to show")
    side = 2.4 + 0.62 * n
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    table = np.vstack([matrix.wins, matrix.mean_loss])
    axes.set_facecolor("0.85")  # where nothing can be compared
    shown = axes.imshow(table, cmap="YlOrBr", vmin=0, vmax=100, aspect="equal")
    for (i, j), value in np.ndenumerate(table):
        if i != j and math.isfinite(value):
            axes.text(
                j, i, f"{value:.0f}", ha="center", va="center", color="white" if value > 60 else "black"
            )
    axes.axhline(n - 0.5, color="black", linewidth=1.5)
    names = [plain_text(name) for name in matrix.methods]
    axes.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n + 1), [*names, "mean loss"])
    axes.set_ylabel("row beats …")
    axes.set_xlabel("… column")
    axes.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes, shrink=0.6, label="% of settings and budgets")
    return figure


def rank_plot(found: Sequence[Ranking]) -> Figure:
    """Mean rank of every strategy by each metric; brackets join strategies that do not differ significantly.

    Raises:
        NNActiveError: no ranking.
    """
    if not found:
        raise NNActiveError("rank plot: there is no ranking to show")
    rows = max(len(entry.test.methods) for entry in found)
    figure = Figure(figsize=(4.4 * len(found), 1.7 + 0.36 * rows), layout="constrained")
    for axes, entry in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        _ranks(axes, entry)
    return figure


def class_bars(results: StudyResults, setting: Setting, scores: Sequence[Score]) -> Figure:
    """Final Dice of each class by strategy: means over seeds, whiskers one standard deviation."""
    own = [entry for entry in scores if entry.setting == setting]
    names = list(dict.fromkeys(name for entry in own for name in entry.classes))
    if not names:
        raise NNActiveError(f"class bars: {setting} has no Dice of single classes")
    figure = Figure(figsize=(max(9.0, 1.6 + 0.2 * len(names) * (len(own) + 1)), 4.0), layout="constrained")
    axes = figure.subplots()
    width, seen = 0.84 / len(own), []
    for place, entry in enumerate(own):
        number = _number(results, entry.strategy)
        values = [entry.classes.get(name, np.array([math.nan])) for name in names]
        means = np.array([_nan_mean(v) for v in values])
        spreads = np.array(
            [v[np.isfinite(v)].std(ddof=1) if np.isfinite(v).sum() > 1 else 0.0 for v in values]
        )
        at = np.arange(len(names)) + (place - (len(own) - 1) / 2) * width
        axes.bar(
            at, means, width * 0.92, yerr=spreads, label=plain_text(entry.strategy), ecolor="0.25",
            color=COLOURS[number % len(COLOURS)], hatch=HATCHES[number // len(COLOURS) % len(HATCHES)],
            edgecolor="white", error_kw={"linewidth": 1}, capsize=2,
        )  # fmt: skip
        seen += [*(means - spreads), *(means + spreads)]
    dice_axis(axes, seen, LEAST_DICE)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(0.0, bottom), top)
    axes.set_axisbelow(True)
    axes.grid(axis="x", visible=False)
    axes.set_xticks(range(len(names)), [plain_text(name) for name in names])
    axes.set_ylabel("Final Dice" + ("" if bottom <= 0 else " (axis does not start at 0)"))
    axes.set_title(plain_text(str(setting)), fontsize=11)
    legend_below(figure, axes)
    return figure


def _number(results: StudyResults, strategy: str) -> int:
    """A strategy looks the same in every figure of a study."""
    return results.strategies().index(strategy)


def _shares(results: StudyResults, setting: Setting) -> list[float]:
    shares = [row.foreground_fraction for row in results.rows if row.setting == setting]
    return [share for share in shares if math.isfinite(share)]


def _band(axes: Axes, x: np.ndarray, dice: np.ndarray, number: int, name: str) -> None:
    style, mean, spread = curve_style(number), dice.mean(axis=0), _spread(dice)
    axes.plot(x, mean, label=plain_text(name), **style)
    axes.fill_between(x, mean - spread, mean + spread, color=style["color"], alpha=0.13, linewidth=0)


def _spread(dice: np.ndarray) -> np.ndarray:
    return dice.std(axis=0, ddof=1) if len(dice) > 1 else np.zeros(dice.shape[1])


def _all_labels(axes: Axes, full: float) -> None:
    if math.isfinite(full):
        axes.axhline(full, color="0.35", linewidth=1, linestyle=(0, (1, 2)), label="all labels")


def _ranks(axes: Axes, entry: Ranking) -> None:
    test = entry.test
    at = np.arange(len(test.methods))
    errors = np.nan_to_num(test.errors)
    axes.errorbar(test.mean_ranks, at, xerr=errors, fmt="o", color=COLOURS[0], ecolor="0.45", capsize=2.5)
    edge = max(float((test.mean_ranks + errors).max()), len(test.methods)) + 0.35
    for number, group in enumerate(test.groups):
        first, last = (test.methods.index(group[i]) for i in (0, -1))
        x = edge + 0.3 * number
        axes.plot(
            [x - 0.12, x, x, x - 0.12], [first, first, last, last], color="0.2", linewidth=1.6, clip_on=False
        )
    axes.set_xlim(0.6, edge + 0.3 * max(len(test.groups), 1))
    axes.set_ylim(len(test.methods) - 0.5, -0.5)
    axes.set_yticks(at, [plain_text(name) for name in test.methods])
    axes.set_xticks(range(1, len(test.methods) + 1))
    axes.set_xlabel("mean rank (1 is best)")
    kind = "settings" if entry.block == "setting" else "settings × seeds"
    blocks = f"{kind}: {test.blocks}"
    p = "" if math.isnan(test.friedman_p) else f", Friedman p = {test.friedman_p:.2g}"
    axes.set_title(f"{entry.metric}\n{blocks}{p}", fontsize=10)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _nan_mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan
