"""Draws what each strategy sees and chooses in one case of a finished simulation.

    python Testing/screenshots/strategies.py RUN [--case CASE] [--cycle N]

Left of each pair: the slice through the first box, under the map the strategy ranks by (for embeddings their
first three principal components as colours). Right: the score of every place at the centre of its box, the
highest over the slices (for embeddings the distance from the mean, for gradients their length), with all the
boxes chosen and their ranks. Boxes chosen for a class have its colour.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from nnactive_server.core.features import Embedding, FeatureGrid
from nnactive_server.core.files import read_json
from nnactive_server.core.places import Places
from nnactive_server.dataset import RawDataset
from nnactive_server.evaluation import plots
from nnactive_server.evaluation.views import display_axes
from nnactive_server.loop import CycleFolder
from nnactive_server.query import (
    PLAIN,
    CaseMaps,
    Proposal,
    Request,
    case_candidates,
    get_strategy,
    group_class,
    merge_candidates,
    strategy_names,
    uncertainty_maps,
)
from nnactive_server.query.strategies.ranked import RankedStrategy
from nnactive_server.segmentation import Engine, Profile

PICTURE = Path(__file__).parents[2] / "Resources" / "Screenshots" / "strategies.png"
COLUMNS = 3
BOXES = 8
PATCH = (12, 12, 12)
CLASS_COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73")


@dataclass(frozen=True)
class Scene:
    """One case, everything a strategy may ask for, and how to turn it upright."""

    case: CaseMaps
    image: np.ndarray
    features: dict[Embedding, FeatureGrid]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def upright(self, volume: np.ndarray) -> np.ndarray:
        """(z, y, x) to (superior, posterior, left)."""
        return np.flip(volume.transpose(self.axes), tuple(a for a in range(3) if self.flips[a]))

    def rectangle(self, start: tuple[int, ...], size: tuple[int, ...]) -> tuple[float, float, int, int]:
        """Left, top, width, height of a box in the axial picture."""
        shape = self.case.shape
        first = [
            shape[a] - start[a] - size[a] if flip else start[a]
            for a, flip in zip(self.axes, self.flips, strict=True)
        ]
        return first[2] - 0.5, first[1] - 0.5, size[self.axes[2]], size[self.axes[1]]

    def level(self, start: tuple[int, ...], size: tuple[int, ...]) -> int:
        """The slice through the middle of a box."""
        axis = self.axes[0]
        middle = start[axis] + size[axis] // 2
        return self.case.shape[axis] - 1 - middle if self.flips[0] else middle


def scene_of(run: Path, cycle: int, name: str, cell: tuple[int, int, int]) -> Scene:
    project = RawDataset.open(run)
    settings = read_json(run / "run.json")
    engine = Engine(project, run / "work", Profile(**settings["profile"]))
    members = CycleFolder(run, cycle).members
    wanted = (
        "predictive_entropy",
        "expected_entropy",
        "mutual_information",
        "mean_probability",
        "prediction",
    )
    maps = uncertainty_maps(engine.predict(members, name), wanted, case=name)
    features = {kind: engine.embed(members, name, kind, cell) for kind in Embedding}
    image = project.read_image(name)
    spacing = image.geometry.spacing
    case = CaseMaps(name, image.geometry.shape, maps, maps["prediction"], spacing)
    return Scene(case, image.array[0], features, *display_axes(image.geometry))


def proposal_of(scene: Scene, name: str, request: Request) -> Proposal:
    case = with_features(scene, name)
    return merge_candidates([case_candidates(case, name, request)], name, request)


def with_features(scene: Scene, name: str) -> CaseMaps:
    kind = get_strategy(name).embedding
    c = scene.case
    return CaseMaps(c.case, c.shape, c.maps, c.labels, c.spacing, scene.features[kind] if kind else None)


def sees(scene: Scene, name: str) -> np.ndarray | None:
    """What the strategy looks at: a map (z, y, x), or colours (z, y, x, 3) of an embedding."""
    strategy = get_strategy(name)
    if isinstance(strategy, RankedStrategy):
        return scene.case.maps[strategy.measure]
    if strategy.embedding:
        grid = scene.features[strategy.embedding]
        flat = grid.values.reshape(len(grid.values), -1).T
        flat = flat - flat.mean(axis=0)
        parts = flat @ np.linalg.svd(flat, full_matrices=False)[2][:3].T
        low, high = np.percentile(parts, (2, 98), axis=0)
        colours = np.clip((parts - low) / (high - low), 0, 1).reshape(*grid.values.shape[1:], 3)
        for axis, cell in enumerate(grid.cell):
            colours = colours.repeat(cell, axis=axis)
        return colours[tuple(slice(0, n) for n in scene.case.shape)]
    return scene.case.labels if strategy.needs_labels else None


def scores_of(scene: Scene, name: str, request: Request) -> np.ndarray | None:
    """Scores at the centres of the boxes (z, y, x), NaN where none is; None without scores."""
    strategy = get_strategy(name)
    if isinstance(strategy, RankedStrategy):
        places, means = strategy.aggregator().scores(
            strategy.map_of(PLAIN, scene.case), request.patch_size, request.stride
        )
        values = strategy.scores(means, scene.case.case, PLAIN, request)
    elif strategy.embedding:
        grid = scene.features[strategy.embedding]
        places = Places.fit(scene.case.shape, request.patch_size, request.cell)
        vectors = np.moveaxis(grid.grid_means(places.starts, places.size), 0, -1)
        if strategy.embedding is Embedding.BOTTLENECK:
            vectors = vectors - vectors.mean(axis=(0, 1, 2))
        values = np.linalg.norm(vectors, axis=-1)
    else:
        return None
    return around_centres(values, places, scene.case.shape)


def around_centres(values: np.ndarray, places: Places, shape: tuple[int, ...]) -> np.ndarray:
    """Each voxel between the first and the last box centre gets the value of the nearest one."""
    for axis, (starts, size) in enumerate(zip(places.starts, places.size, strict=True)):
        centres = starts + size // 2
        borders = (centres[1:] + centres[:-1]) / 2
        values = values.take(np.searchsorted(borders, np.arange(shape[axis])), axis=axis)
        outside = np.delete(np.arange(shape[axis]), np.arange(centres[0], centres[-1] + 1))
        values[(slice(None),) * axis + (outside,)] = np.nan
    return values


def draw_boxes(axes: Axes, scene: Scene, proposal: Proposal, level: int | None) -> None:
    """Boxes with their ranks; with a level only those that it cuts."""
    for query in proposal:
        axis = scene.axes[0]
        middle = scene.level(query.start, query.size)
        if level is not None and abs(middle - level) > query.size[axis] // 2:
            continue
        left, top, width, height = scene.rectangle(query.start, query.size)
        value = group_class(query.group)
        colour = CLASS_COLOURS[(value - 1) % len(CLASS_COLOURS)] if value else "white"
        for edge, thick in (("black", 2.6), (colour, 1.4)):
            axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=edge, linewidth=thick))
        text = axes.text(left + 0.9, top + 0.7, str(query.rank), color=colour, fontsize=7, va="top")
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def draw_pair(left: Axes, right: Axes, scene: Scene, name: str, request: Request) -> None:
    proposal = proposal_of(scene, name, request)
    level = scene.level(proposal[0].start, proposal[0].size)
    left.imshow(scene.upright(scene.image)[level], cmap="gray")
    seen = sees(scene, name)
    if seen is not None and seen.ndim == 4:
        turned = np.stack([scene.upright(seen[..., c])[level] for c in range(3)], axis=-1)
        left.imshow(turned, alpha=0.55)
    elif seen is not None:
        heat = scene.upright(seen)[level].astype(float)
        top = max(float(seen.max()), 1e-9)
        left.imshow(heat, cmap="inferno", alpha=np.clip(2 * heat / top, 0, 0.75), vmin=0, vmax=top)
    draw_boxes(left, scene, proposal, level)
    left.set_title(name, fontsize=9, loc="left", fontweight="bold")
    scores = scores_of(scene, name, request)
    right.set_facecolor("#dddddd")
    if scores is None:
        right.imshow(scene.upright(scene.image).mean(axis=0), cmap="gray")
    else:
        turned = scene.upright(scores)
        filled = np.where(np.isnan(turned), -np.inf, turned).max(axis=0)
        right.imshow(np.where(np.isinf(filled), np.nan, filled), cmap="viridis")
    right.set_xlim(left.get_xlim())
    right.set_ylim(left.get_ylim())
    draw_boxes(right, scene, proposal, None)
    for axes in (left, right):
        axes.set_xticks([])
        axes.set_yticks([])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--case", default="")
    parser.add_argument("--cycle", type=int, default=0)
    arguments = parser.parse_args()
    request = Request(BOXES, PATCH, 1, 4, 12345)
    case = arguments.case or read_json(arguments.run / "split.json")["pool"][0]
    scene = scene_of(arguments.run, arguments.cycle, case, request.cell)
    names = strategy_names()
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(3.4 * COLUMNS, 2.75 * rows), layout="constrained", dpi=100)
    grid = figure.subplots(rows, 2 * COLUMNS, squeeze=False)
    for axes in grid.ravel():
        axes.set_visible(False)
    for index, name in enumerate(names):
        row, column = divmod(index, COLUMNS)
        left, right = grid[row][2 * column], grid[row][2 * column + 1]
        left.set_visible(True)
        right.set_visible(True)
        draw_pair(left, right, scene, name, request)
    figure.suptitle(
        f"{BOXES} boxes of {'x'.join(map(str, PATCH))} voxels in one scan: what each strategy sees (left), "
        "the score of every place and the boxes chosen (right)",
        fontsize=8,
    )
    PICTURE.write_bytes(plots.png(figure, 100))
    print(PICTURE)


if __name__ == "__main__":
    main()
