"""Measures the panel in Slicer on large images, and prints a markdown table; `make bench-slicer`.

    python Testing/benchmarks/slicer_bench.py            under four minutes on two cores
    python Testing/benchmarks/slicer_bench.py --quick    small images: shows that it runs

The panel's real code runs on the headless harness, with Slicer's own scene, logics and views, on a real
server (`nnactive serve`) on loopback. Two times are told apart: until our code has returned, and until the
four views are drawn, here by a processor (Mesa) instead of a graphics card. Beside each row stands what the
same machine does at that moment without our code. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import slicer_least as least
from apart import apart
from slicer_clinic import Clinic, boxes_in
from slicer_memory import walk
from slicer_panel import Desk
from slicer_session import Sitting
from slicer_watch import Held, Watch
from table import head, line

from harness import mrml_scene, qt_start, slicer_app_host
from harness import views as harness_views
from nnactive_server.core.patch import Patch

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        volume: of the images (z, y, x), int16.
        box: of a patch.
        images: that the server has.
        answers: measured in a row.
        cases, patches: of the project of the sittings.
        sittings: scripted ones.
        small: the image in which editing is compared.
        stroked: the box in both.
        strokes: of each kind.
        limits: of memory for images loaded ahead, MB.
        walked: cases, one after the other, to see what they take.
    """

    volume: Shape = (300, 512, 512)
    box: Shape = (64, 64, 64)
    images: int = 3
    answers: int = 24
    cases: int = 40
    patches: int = 300
    sittings: int = 3
    small: Shape = (64, 64, 64)
    stroked: Shape = (32, 32, 32)
    strokes: int = 20
    limits: tuple[int, ...] = (1024, 400)
    walked: int = 8


QUICK = Scale((40, 64, 64), (12, 16, 16), 2, 2, 3, 20, 1, (16, 16, 16), (8, 8, 8), 2, (100,), 3)


class Bench:
    """A clinic, and a desk with four views in it."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.folder, self.scale = folder, scale
        self.watch = Watch()
        self.clinic = Clinic(folder, scale.volume, scale.images)
        self.views = harness_views.Views(mrml_scene.start())

    def rows(self) -> Iterator[str]:
        """The table, as far as it is measured."""
        scale = self.scale
        with self.clinic:
            with slicer_app_host.session() as load:
                desk = Desk(load, self.clinic, self.views)
                other, same = least.bare(self.views, scale.volume, min(5, scale.answers))
                yield self.next_patch(
                    desk, "same case", "150 ms", 1, "the same views jump and are drawn", same
                )
                what = "bare copy of the image into VTK, drawn once"
                yield self.next_patch(desk, "another case, loaded ahead", "700 ms", scale.images, what, other)
                yield from self.sittings(desk)
            yield from self.editing()
            yield from self.memory()

    def next_patch(
        self, desk: Desk, what: str, reach: str, cases: int, baseline: str, least_: list[float]
    ) -> str:
        """Accept, and the next one; in turn in so many cases."""
        scale, ui = self.scale, desk.ui("patch")
        project = self.project(what, cases, scale.answers + 3)
        desk.open(project)
        desk.first()
        shown, drawn = [], {}
        for number in range(scale.answers):
            desk.loaded_ahead(2)
            desk.scribble(number)
            desk.render()
            drawn[desk.here] = desk.adapter.read().labels
            picture = desk.picture()
            self.watch.taken()
            shown.append(desk.press_and_wait(ui.acceptButton, self.watch))
            assert (desk.picture() != picture).any(), "the views did not change"
        desk.until(lambda: not desk.presenter.opened.sending.entries)
        self.check(project, drawn)
        desk.presenter.close_project()
        name = f"accept → next patch of {what}, {_shown(scale.volume)} int16 with heat map"
        times = [_ms([getattr(one, each) for one in shown]) for each in ("code", "held", "busy", "pixels")]
        ratio = f"{min(one.pixels for one in shown) / min(least_):.1f}x"
        return line(name, reach, *times, f"{baseline} {_ms(least_)}", ratio)

    def check(self, project: str, drawn: dict[str, object]) -> None:
        """Every answer is what was drawn, bit for bit."""
        kinds = self.clinic.kinds(project)
        assert set(kinds) == set(drawn), "answers are missing"
        for patch, labels in drawn.items():
            assert (self.clinic.labels(patch, self.scale.box) == labels).all(), f"{patch} differs"

    def project(self, name: str, cases: int, patches: int) -> str:
        made = self.clinic.project(name.split(",")[0], cases)
        boxes = boxes_in(self.scale.volume, self.scale.box, patches)
        self.clinic.trained(made, [(number % cases, box) for number, box in enumerate(boxes)])
        return made

    def sittings(self, desk: Desk) -> Iterator[str]:
        """Scripted sittings, and the longest call in each."""
        scale, runs = self.scale, []
        boxes = boxes_in(scale.volume, scale.box, 6, 1)
        later: list[tuple[int, Patch]] = [(number % scale.cases, box) for number, box in enumerate(boxes)]
        for number in range(scale.sittings):
            project = self.project(f"sitting {number}", scale.cases, scale.patches)
            self.watch.taken()
            Sitting(desk, project, later).run()
            runs.append(self.watch.taken())
            kinds = sorted(self.clinic.kinds(project).values())
            assert kinds == ["confirmed", "empty", *["labelled"] * 6, "skipped"], kinds
        name = (
            f"one call of our code in a sitting ({len(runs[0])} calls, {scale.patches} patches in the list)"
        )
        yield _longest(name, "100 ms", runs, image=False)
        yield _longest("the same, where an image comes into the scene or leaves it", "", runs, image=True)

    def editing(self) -> Iterator[str]:
        """A stroke and the reading of the box, in a small and in a large image."""
        scale = self.scale
        shapes = (scale.small, scale.volume)
        ours: tuple[list[float], list[float]] = ([], [])
        for _ in range(3):  # in turn, as the machine's load comes and goes
            for shape, times in zip(shapes, ours, strict=True):
                times += least.our_strokes(shape, scale.stroked, scale.strokes)
        plain = [list(least.plain_strokes(shape, scale.stroked, 3)) for shape in shapes]
        for shape, mine, theirs in zip(shapes, ours, plain, strict=True):
            what = f"stroke and reading of a box of {_shown(scale.stroked)} in an image of {_shown(shape)}"
            baseline = f"Segment Editor on the image's grid, labels exported {_ms(theirs)}"
            ratio = f"{min(mine) / min(theirs):.2f}x"
            yield line(what, "as in the small one", _ms(mine), "", "", "", baseline, ratio)
        yield line("large by small", "1x", f"{min(ours[1]) / min(ours[0]):.2f}x", "", "", "",
                   f"{min(plain[1]) / min(plain[0]):.0f}x", "")  # fmt: skip

    def memory(self) -> Iterator[str]:
        """A walk through many cases with little and with much memory for what comes next."""
        scale, clinic = self.scale, self.clinic
        for limit in scale.limits:
            project = self.project(f"walk {limit}", scale.walked, scale.walked + 2)
            about = (clinic.server.url, clinic.token, project, limit, scale.walked)
            (found,) = apart(walk, *about)[0]
            assert found.cached <= found.limit, "more is kept than was allowed"
            yield line(
                f"memory for images loaded ahead, {limit} MB allowed, {scale.walked} cases in turn",
                f"{limit} MB",
                f"{found.cached / 2**20:.0f} MB kept",
                f"process {found.peak / 2**20:.0f} MB above its size without a project",
                "", "", f"one image {found.image / 2**20:.0f} MB", "",
            )  # fmt: skip


def _machine() -> str:
    """Date, processors, and what draws; without torch, which `machine_line` would bring along."""
    cores, window = len(os.sched_getaffinity(0)), os.environ["VTK_DEFAULT_OPENGL_WINDOW"]
    return f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {cores} cores, {window} (Mesa)\n"


def _longest(name: str, reach: str, runs: Sequence[Sequence[Held]], *, image: bool) -> str:
    worst = [max((one for one in calls if one.image == image), key=lambda one: one.seconds) for calls in runs]
    busiest = [max(one.busy for one in calls if one.image == image) for calls in runs]
    each = min(worst, key=lambda one: one.seconds)
    times = _ms([one.seconds for one in worst])
    return line(name, reach, "", times, _ms(busiest), "", f"longest of its run: {each}", "")


def _ms(seconds: Sequence[float]) -> str:
    return f"{1000 * min(seconds):.1f} / {1000 * statistics.median(seconds):.1f} ms"


def _shown(shape: Shape) -> str:
    return "x".join(map(str, shape))


UNABLE = 3
"""Exit status where Qt or the views do not work."""
COLUMNS = (
    "what", "reach", "until our code has returned", "of it the windows' thread held", "of it on a processor",
    "until the pixels are there", "baseline", "ratio",
)  # fmt: skip


def main() -> int:
    reason = qt_start.why_not() or harness_views.why_not()
    if reason:
        print(f"nothing can be measured here: {reason}")
        return UNABLE
    sys.excepthook = sys.__excepthook__  # the harness gathers what its event loop would print
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small images and few patches")
    scale = QUICK if parser.parse_args().quick else Scale()
    print(f"{_machine()}load of other programs before it began: {os.getloadavg()[0]:.1f}; best / median\n")
    print(head(*COLUMNS), flush=True)
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_DATA_HOME"] = f"{name}/home"
        for row in Bench(Path(name), scale).rows():
            print(row, flush=True)
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
