"""Takes the README's pictures of the panel and the views, at each step of a clinician's first two rounds.

A real server and real trainings (about five minutes), on real scans where there are any, else on phantoms.
Run from the repository's folder with PYTHONPATH=.:Testing; a folder as argument takes them there instead.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from harness import qt_start, views

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "Resources" / "Screenshots"
MODULE = ROOT / "NNActiveSlicer" / "NNActiveSlicer.py"
PORT = 8088
PERSON = "Dr. Okafor"
SCANS, BOXES = 10, 8
TRAINING = {"first_iterations": 200, "iterations": 40, "members": 2, "crop_voxels": 22**3}
"""Enough that the colours mean something, and soon over."""
SHOW_FROM = 0.6
"""Nats; a model of so short a training is a little unsure everywhere."""
STEPS = (4, 6, 8)
"""Of the colours' values from 0 to 255."""
LARGEST = 300_000
"""Bytes of a picture."""


def main() -> None:
    reason = qt_start.why_not() or views.why_not()
    if reason:
        raise SystemExit(reason)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        # Unsent answers and settings of whoever runs this are left alone.
        os.environ["XDG_DATA_HOME"] = f"{work}/home"
        try:
            with sitting(Path(work)) as (clinician, operator):
                take_all(clinician, operator, lambda name: shoot(clinician, folder / f"panel-{name}.png"))
        finally:
            sys.excepthook = sys.__excepthook__  # the harness keeps errors for tests to find


@contextmanager
def sitting(work: Path) -> Iterator[tuple[Any, Any]]:
    """A clinician before the open panel, and a server."""
    from harness import mrml_scene, pictures, slicer_app_host
    from nnactive_server.store import Role, Store
    from testkit.clinician import Clinician
    from testkit.known_scans import brain_scans
    from testkit.live_server import LiveServer

    options = ["--executor", "local", "--port", str(PORT)]
    with LiveServer(work / "server", options) as server, slicer_app_host.session() as load:
        with Store(server.data) as store:
            server.tokens[PERSON] = store.tokens.create(PERSON, Role.ADMIN)[1]
        host = load(MODULE)
        drawn = views.Views(mrml_scene.start())
        window = pictures.Window(host, drawn)
        host.enter()
        clinician = Clinician(host, brain_scans(SCANS, work / "phantoms"), drawn)
        clinician.window = window
        yield clinician, server


def take_all(ann: Any, operator: Any, take: Callable[[str], None]) -> None:
    """The steps of the tutorial, in its order."""
    ann.type_connection("https://segmentation.hospital.example", operator.tokens[PERSON])
    take("1-connect")
    ann.type_connection(operator.url, operator.tokens[PERSON])
    ann.press_connect()
    ann.fill_in_project(ann.scans.title, ann.scans.channel, ann.scans.classes)
    take("2-project")
    ann.create_project()
    ann.settle_by(operator, profile_overrides=TRAINING)
    ann.add_files([scan.image for scan in ann.scans.scans])
    ann.know([scan.truth for scan in ann.scans.scans])
    ann.panel.sections["project"].ui.imagesBox.collapsed = False
    take("3-images")
    ann.panel.sections["project"].ui.imagesBox.collapsed = True
    prepare(ann, operator, take)
    first_round(ann, take)
    second_round(ann, take)


def prepare(ann: Any, operator: Any, take: Callable[[str], None]) -> None:
    """Size and first boxes."""
    ann.look_at(ann.cases[0])
    for value in range(1, len(ann.scans.classes) + 1):
        ann.draw_rough_box(ann.cases[0], value)
    ann.suggest_size()
    take("4-size")
    ann.use_size()
    ann.settle_by(operator, query_size=BOXES)
    ann.place_boxes(wait=lambda: take("5-first-boxes"))
    ann.add_random_boxes()


def first_round(ann: Any, take: Callable[[str], None]) -> None:
    """Boxes that start empty; the last one is drawn in while the model learns."""
    ann.begin()
    ann.scroll_to(ann.panel.sections["workList"].container)
    ann.brush(ann.wanted)
    ann.look_into()
    take("6-draw")
    while ann.session.ahead.patches:
        ann.answer()
    ann.all_sent()
    ann.brush(ann.wanted)
    ann.train()
    ann.until(lambda: "Training: " in ann.says("training"), 120.0)
    ann.scroll_to(ann.panel.sections["patch"].container)
    ann.look_into()
    take("7-train")
    ann.trained(1200.0)
    ann.answer()


def second_round(ann: Any, take: Callable[[str], None]) -> None:
    """Boxes that the model asks about."""
    ann.fold("training")
    while not (ann.wanted.any() and ann.patch.class_name):
        ann.answer()
    ann.panel.sections["patch"].ui.heatBox.collapsed = False
    ann.panel.sections["patch"].ui.thresholdSlider.value = SHOW_FROM
    ann.scroll_to(ann.panel.sections["patch"].container)
    ann.look_into()
    take("8-second-round")
    ann.panel.sections["patch"].ui.heatBox.collapsed = True
    ann.answer_all()
    ann.train()
    ann.trained(1200.0, boxes=False)
    ann.shown()
    ann.fold("workList", "patch", "training")
    ann.unfold("progress")
    ann.look_at_curve()
    take("9-progress")
    ann.look_at_curve()
    ann.show_prediction(0)
    take("10-prediction")


def shoot(ann: Any, path: Path) -> None:
    """A picture of the whole window, small enough for a page."""
    cut = ann.cut_off()
    if cut:
        print(f"{path.name}: cut off: {cut}")
    ann.window.picture(path)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    for step in STEPS:
        without_noise(picture, step).save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            print(path, f"{path.stat().st_size // 1000} kB")
            return
    raise SystemExit(f"{path} has {path.stat().st_size} bytes, more than {LARGEST}")


def without_noise(picture: Image.Image, step: int) -> Image.Image:
    """Colours as multiples of a step, which nobody sees and which makes the file much smaller."""
    return picture.point([min(255, round(value / step) * step) for value in range(256)] * 3)


if __name__ == "__main__":
    main()
