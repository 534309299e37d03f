"""Figures of a run: learning curves, time, proposed patches.

Every function returns a figure that belongs to nobody else (no pyplot, no global state); `png`
turns it into bytes. Colours are Okabe and Ito's, which colour-blind readers can tell apart, and
curves also differ by marker and line.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from nnactive_server.core.errors import NNActiveError
from nnactive_server.evaluation.views import QueryView, SliceView

TRUTH_COLOUR = "#56B4E9"
PREDICTION_COLOUR = "#E69F00"
BOX_COLOUR = "#FFFFFF"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "os^Dvp*"
LINES = ("-", "--", "-.", ":")
_QUERY_INCHES = (6.4, 4.3)
_SPOTS = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
)
"""Where the four direction letters stand: x, y (shares of the picture), alignment."""
_LETTERS_PER_INCH = 11
_FADE_IN = 0.25
"""Share of the heat scale over which the overlay turns from clear to dense."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The learning curve of one run, one entry per cycle.

    Attributes:
        name: shown in the legend.
        patches: patches annotated so far.
        foreground: annotated share of all foreground voxels, 0..1.
        dice: Mean Dice; NaN where a cycle has none.
    """

    name: str
    patches: tuple[float, ...]
    foreground: tuple[float, ...]
    dice: tuple[float, ...]


def png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as PNG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def svg(figure: Figure) -> str:
    """The figure as SVG, text as outlines; the same figure gives the same text."""
    stream = io.StringIO()
    with rc_context({"svg.hashsalt": "nnactive"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def share_axis(axes: Axes, values: Sequence[float]) -> None:
    """Annotated share of the foreground, as percent from 0 on."""
    axes.set_xlabel("annotated share of the structures")
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlim(0, max([0.01, *values]) * 1.08)


def learning_curve(curves: Sequence[Curve], full_dice: float | None = None) -> Figure:
    """Mean Dice against annotated patches (left) and annotated foreground (right).

    Args:
        curves: one per run.
        full_dice: Mean Dice with all labels, drawn as a line to reach.
    """
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.08})
    for number, curve in enumerate(curves):
        left.plot(curve.patches, curve.dice, label=plain_text(curve.name), **curve_style(number))
        right.plot(curve.foreground, curve.dice, **curve_style(number))
    for axes in (left, right):
        dice_axis(axes, [d for c in curves for d in c.dice] + ([] if full_dice is None else [full_dice]))
        if full_dice is not None:
            axes.axhline(full_dice, color="0.35", linewidth=1, linestyle=(0, (1, 2)), label="all labels")
    count_axis(left, "annotated patches (boxes)", [p for c in curves for p in c.patches])
    share_axis(right, [f for c in curves for f in c.foreground])
    left.set_ylabel("Mean Dice")
    legend_below(figure, left)
    return figure


def class_curves(patches: Sequence[float], dice: np.ndarray, names: Sequence[str]) -> Figure:
    """Dice of each class against annotated patches.

    Args:
        patches: patches annotated so far, one per cycle.
        dice: (cycles, K), NaN where undefined.
        names: K class names.

    Raises:
        NNActiveError: the lengths do not fit.
    """
    table = np.asarray(dice, dtype=float)
    if table.shape != (len(patches), len(names)):
        raise NNActiveError(
            f"class curves: Dice {table.shape} for {len(patches)} cycles, {len(names)} classes"
        )
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(names):
        axes.plot(patches, table[:, number], label=plain_text(name), **curve_style(number))
    dice_axis(axes, table.ravel().tolist())
    count_axis(axes, "annotated patches (boxes)", patches)
    axes.set_ylabel("Dice")
    legend_below(figure, axes)
    return figure


def stage_times(cycles: Sequence[int], seconds: Mapping[str, Sequence[float]]) -> Figure:
    """One bar per cycle: how long each stage took.

    Args:
        cycles: cycle numbers.
        seconds: stage name to seconds per cycle, in the order of the stages.
    """
    figure = Figure(figsize=(9.0, 1.5 + 0.38 * max(len(cycles), 1)), layout="constrained")
    axes = figure.subplots()
    totals = np.sum([list(values) for values in seconds.values()], axis=0)
    unit, name = (60.0, "minutes") if np.max(totals, initial=0) >= 120 else (1.0, "seconds")
    reached = np.zeros(len(cycles))
    for number, (stage, values) in enumerate(seconds.items()):
        widths = np.asarray(values, dtype=float) / unit
        colour = COLOURS[number % len(COLOURS)]
        axes.barh(
            [str(c) for c in cycles],
            widths,
            left=reached,
            color=colour,
            edgecolor="white",
            label=plain_text(stage),
        )
        reached = reached + widths
    axes.invert_yaxis()
    axes.set_ylabel("cycle")
    axes.set_xlabel(name)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    legend_below(figure, axes)
    return figure


def query_picture(view: QueryView, heat_top: float | None = None) -> Figure:
    """One query: the three slices, below them the uncertainty on the same slices.

    Args:
        view: the slices.
        heat_top: uncertainty at the top of the colour bar; by default the view's own.
    """
    figure = Figure(figsize=_QUERY_INCHES, layout="constrained")
    _draw_query(figure, view, heat_top or view.heat_top)
    return figure


def query_montage(views: Sequence[QueryView], captions: Sequence[str], columns: int = 2) -> Figure:
    """Several queries side by side, one colour scale for all, each with its caption.

    Args:
        views: the queries, best first.
        captions: one per query.
        columns: queries in a row.

    Raises:
        NNActiveError: no view, or not one caption for each.
    """
    if not views or len(views) != len(captions):
        raise NNActiveError(f"query montage: {len(views)} views and {len(captions)} captions; give one each")
    columns = min(columns, len(views))
    rows = -(-len(views) // columns)
    figure = Figure(
        figsize=(_QUERY_INCHES[0] * columns, (_QUERY_INCHES[1] + 0.4) * rows), layout="constrained"
    )
    cells = figure.subfigures(rows, columns, squeeze=False, wspace=0.03, hspace=0.03)
    heat_top = max(view.heat_top for view in views)
    for cell, view, caption in zip(cells.flat, views, captions, strict=False):
        cell.suptitle("\n".join(textwrap.wrap(plain_text(caption), 70)), fontsize=11)
        _draw_query(cell, view, heat_top)
    return figure


def _draw_query(figure: FigureBase, view: QueryView, heat_top: float) -> None:
    widths = [s.image.shape[1] * s.pixel[1] for s in view.slices]
    axes = figure.subplots(2, 3, width_ratios=widths, squeeze=False)
    for column, part in enumerate(view.slices):
        _draw_slice(axes[0, column], part)
        _draw_contours(axes[0, column], part)
        axes[0, column].set_title(part.plane, fontsize=10)
        _draw_slice(axes[1, column], part)
        shown = _draw_heat(axes[1, column], part, view.heat_top, heat_top)
    bar = figure.colorbar(shown, ax=list(axes.flat), shrink=0.46, anchor=(0.0, 0.0), pad=0.02)
    bar.set_label("uncertainty (nats)")
    _contour_legend(figure, axes[0, 0], known=view.slices[0].truth is not None)


def _draw_slice(axes: Axes, part: SliceView) -> None:
    """Grey picture, box, and the letters of the patient directions."""
    aspect = part.pixel[0] / part.pixel[1]
    axes.imshow(part.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect=aspect)
    top, left, height, width = part.box
    for colour, line in (("black", 3.0), (BOX_COLOUR, 1.4)):
        axes.add_patch(
            Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=colour, linewidth=line)
        )
    axes.set_axis_off()
    for letter, (x, y, across, upright) in zip(part.edges, _SPOTS, strict=True):
        axes.text(
            x, y, letter, transform=axes.transAxes, color="white", fontsize=9, ha=across, va=upright,
            bbox={"facecolor": "black", "alpha": 0.45, "edgecolor": "none", "pad": 1.0},
        )  # fmt: skip


def _draw_contours(axes: Axes, part: SliceView) -> None:
    for labels, colour, line in (
        (part.truth, TRUTH_COLOUR, "solid"),
        (part.prediction, PREDICTION_COLOUR, "dashed"),
    ):
        if labels is None:
            continue
        for value in np.unique(labels[labels > 0]):
            # A margin of background closes contours that would run into the picture's edge.
            mask = np.pad((labels == value).astype(float), 1)
            rows, columns = np.arange(mask.shape[0]) - 1, np.arange(mask.shape[1]) - 1
            axes.contour(columns, rows, mask, [0.5], colors=colour, linewidths=1.7, linestyles=line)
    axes.set_xlim(-0.5, part.image.shape[1] - 0.5)
    axes.set_ylim(part.image.shape[0] - 0.5, -0.5)


def _draw_heat(axes: Axes, part: SliceView, own_top: float, top: float) -> Any:
    colours = colormaps["inferno"](np.linspace(0, 1, 256))
    colours[:, 3] = np.clip(np.linspace(0, 1 / _FADE_IN, 256), 0, 0.75)
    return axes.imshow(
        part.heat * (own_top / 255.0),
        cmap=ListedColormap(colours),
        vmin=0,
        vmax=top or 1.0,
        interpolation="nearest",
        aspect=part.pixel[0] / part.pixel[1],
    )


def _contour_legend(figure: FigureBase, axes: Axes, known: bool) -> None:
    entries = [axes.plot([], [], color=PREDICTION_COLOUR, linestyle="dashed", label="model")[0]]
    if known:
        entries.insert(0, axes.plot([], [], color=TRUTH_COLOUR, label="reference")[0])
    entries.append(axes.plot([], [], color="0.6", linewidth=1.4, label="proposed box")[0])
    figure.legend(handles=entries, loc="outside lower center", ncols=3, frameon=False, fontsize=9)


def curve_style(number: int) -> dict[str, Any]:
    """Colour, marker and line of the curve of this number, different for the first 28."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number // len(COLOURS) % len(LINES)],
        "linewidth": 1.8,
        "markersize": 5.5,
    }


def dice_axis(axes: Axes, values: Sequence[float], least: float = 0.2) -> None:
    """As much of 0..1 as the values need, at least `least`, so that a late gain of 0.01 can still be seen."""
    known = [value for value in values if np.isfinite(value)] or [0.0, 1.0]
    low, high = min(known) - least / 10, max(known) + least / 10
    spare = max(0.0, least - (high - low)) / 2
    # 0.03 beyond 0 and 1, so that markers there are not cut
    axes.set_ylim(max(-0.03, low - spare), min(1.03, high + spare))
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)


def count_axis(axes: Axes, label: str, values: Sequence[float]) -> None:
    """Whole numbers from 0 on; a little room to the right, so that no marker is cut."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlim(0, max([1.0, *values]) * 1.05)


def legend_below(figure: Figure, axes: Axes) -> None:
    """Below the axes, where it hides no curve; nothing when there is nothing to tell apart."""
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        room = int(figure.get_figwidth() * _LETTERS_PER_INCH / (max(map(len, names)) + 6))
        columns = max(1, min(len(names), 5, room))
        figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)


def plain_text(text: str) -> str:
    """A dollar sign would start a formula, a leading underscore hides a legend entry."""
    return text.replace("$", r"\$").lstrip("_") or "-"
