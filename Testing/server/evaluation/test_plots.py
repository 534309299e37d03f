import io
import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from nnactive_server.core.errors import NNActiveError
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Patch
from nnactive_server.evaluation import QueryView, plots, query_view

SHAPE = (8, 20, 24)


def a_view(known: bool = True) -> QueryView:
    rng = np.random.default_rng(3)
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 0:9, 5:15] = 1  # touches the picture's edge
    labels[3:5, 9:12, 5:9] = 2
    geometry = Geometry(SHAPE, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    truth = np.roll(labels, 2, axis=1) if known else None
    return query_view(
        rng.normal(size=SHAPE), rng.random(SHAPE), labels, truth, geometry, Patch((2, 4, 4), (4, 8, 8))
    )


def curves() -> list[plots.Curve]:
    return [
        plots.Curve("clasp-pe", (20, 40, 60), (0.01, 0.03, 0.05), (0.4, 0.6, 0.8)),
        plots.Curve("_random $5", (20, 40, 60), (0.01, 0.02, 0.03), (0.4, math.nan, 0.6)),
    ]


FIGURES = {
    "learning": lambda: plots.learning_curve(curves(), full_dice=0.9),
    "alone": lambda: plots.learning_curve(curves()[:1]),
    "one cycle": lambda: plots.learning_curve([plots.Curve("a", (20,), (0.0,), (0.4,))]),
    "classes": lambda: plots.class_curves(
        (20, 40), np.array([[0.8, math.nan], [0.9, 0.4]]), ("liver", "lesion")
    ),
    "times": lambda: plots.stage_times([0, 1], {"train": [60, 90], "query": [2, 0]}),
    "query": lambda: plots.query_picture(a_view()),
    "no truth": lambda: plots.query_picture(a_view(known=False)),
    "montage": lambda: plots.query_montage([a_view()] * 3, ["first", "$second", "a long caption " * 12]),
}


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_is_drawn_whole(name: str) -> None:
    figure = FIGURES[name]()
    picture = imread(io.BytesIO(plots.png(figure, 100)))
    assert picture.shape[:2] == tuple(round(side * 100) for side in figure.get_size_inches()[::-1])
    assert picture[..., :3].std() > 0.02
    # Nothing runs into the border: text cut off would leave its ink there.
    frame = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert frame[..., :3].min() == 1


def drawn_lines(axes: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): np.asarray(line.get_xdata()).tolist() for line in axes.lines}


def test_the_learning_curve_shows_patches_left_and_foreground_right() -> None:
    left, right = plots.learning_curve(curves()).axes
    assert drawn_lines(left)["clasp-pe"] == [20, 40, 60]
    assert np.asarray(right.lines[0].get_xdata()).tolist() == [0.01, 0.03, 0.05]
    assert [np.asarray(line.get_ydata())[-1] for line in right.lines] == [0.8, 0.6]
    assert left.lines[0].get_marker() != left.lines[1].get_marker()


def test_names_are_shown_as_they_are() -> None:
    figure = plots.learning_curve(curves())
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["clasp-pe", r"random \$5"]


def test_stages_are_stacked() -> None:
    bars = plots.stage_times([0, 1], {"train": [60, 90], "query": [2, 5]}).axes[0].patches
    ends = [(bar.get_x(), bar.get_width()) for bar in bars]
    assert ends == [(0, 60), (0, 90), (60, 2), (90, 5)]


def test_slices_keep_their_proportions_and_show_the_box() -> None:
    view = a_view()
    figure = plots.query_picture(view)
    plots.png(figure, 50)
    coronal = figure.axes[1]
    assert coronal.get_aspect() == 3.0
    box = coronal.patches[-1].get_bbox()
    top, left, height, width = view.plane("coronal").box
    assert (box.x0, box.y0, box.width, box.height) == (left - 0.5, top - 0.5, width, height)


def test_one_colour_scale_for_a_montage() -> None:
    weak, strong = a_view(), a_view()
    strong = QueryView(strong.slices, 2 * strong.heat_top)
    figure = plots.query_montage([weak, strong], ["a", "b"])
    tops = {axes.images[1].get_clim()[1] for axes in figure.axes if len(axes.images) == 2}
    assert tops == {strong.heat_top}


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(NNActiveError, match="class curves"):
        plots.class_curves((20, 40), np.zeros((2, 3)), ("a", "b"))
    with pytest.raises(NNActiveError, match="montage"):
        plots.query_montage([a_view()], [])


@pytest.mark.parametrize("dice", [(0.806, 0.85), (0.0, 1.0), (0.5, 0.5), (float("nan"), 0.93)])
def test_the_dice_axis_shows_every_value_and_no_needless_room(dice):
    figure = plots.learning_curve([plots.Curve("a", (20, 40), (0.1, 0.2), dice)])
    bottom, top = figure.axes[0].get_ylim()
    known = [value for value in dice if value == value]
    assert bottom < min(known) <= max(known) < top
    assert -0.03 <= bottom < top <= 1.03
    assert top - bottom <= max(0.2, max(known) - min(known) + 0.06) + 1e-9
