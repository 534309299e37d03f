"""Measures what the loop costs on this machine and prints a table; `make bench`.

    python Testing/benchmarks/run.py            quick rows, about two minutes
    python Testing/benchmarks/run.py --long     also the demo and five hippocampus cycles, about half an hour

Real images are taken from ../shared/data when they are there, phantoms otherwise. Every figure is measured in
this run; stock nnU-Net is measured beside ours on the same images, weights and plan.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from table import head, line, machine_line, median_seconds

from nnactive_server.core.monitor import Monitor
from nnactive_server.core.patch import Patch, fit_size
from nnactive_server.dataset import RawDataset, write_patches
from nnactive_server.segmentation import Engine, export_model, get_profile

ROOT = Path(__file__).parents[2]
HIPPOCAMPUS = ROOT.parent / "shared" / "data" / "Dataset004_Hippocampus"
COMMAND = Path(sys.executable).parent / "nnactive"


@dataclass(frozen=True)
class Row:
    what: str
    ours: str
    baseline: str = ""
    ratio: str = ""

    def __str__(self) -> str:
        return line(self.what, self.ours, self.baseline, self.ratio)


def source(folder: Path) -> RawDataset:
    if HIPPOCAMPUS.exists():
        return RawDataset.open(HIPPOCAMPUS)
    from nnactive_server.study.phantom import make_phantoms

    make_phantoms(folder / "phantoms", cases=12, seed=1)
    return RawDataset.open(folder / "phantoms")


def linked(truth: RawDataset, root: Path, cases: tuple[str, ...]) -> RawDataset:
    """A project of these images, of which nothing is annotated."""
    RawDataset.create(root, truth.labels.as_partial(), truth.channels, truth.file_ending, "benchmark")
    (root / "imagesTr").mkdir(exist_ok=True)
    for case in cases:
        for path in truth.image_paths(case):
            (root / "imagesTr" / path.name).symlink_to(path.resolve())
    return RawDataset.open(root)


def project_of(truth: RawDataset, root: Path, cases: tuple[str, ...]) -> RawDataset:
    """A project with one 20-voxel patch annotated in each case."""
    project = linked(truth, root, cases)
    for case in cases:
        write_patches(project, case, {patch_of(truth, case): truth_in(truth, case)})
    return project


def patch_of(truth: RawDataset, case: str) -> Patch:
    shape = truth.geometry(case).shape
    size = fit_size((20, 20, 20), shape)
    return Patch(tuple((n - s) // 2 for n, s in zip(shape, size, strict=True)), size)


def truth_in(truth: RawDataset, case: str) -> np.ndarray:
    return truth.read_label(case).array[patch_of(truth, case).slices]


def label_rows(truth: RawDataset, project: RawDataset, engine: Engine) -> list[Row]:
    case = project.cases[0]
    answer = {patch_of(truth, case): truth_in(truth, case)}
    shape = "x".join(str(n) for n in truth.geometry(case).shape)
    answered = median_seconds(lambda: write_patches(project, case, answer), 20)
    updated = median_seconds(lambda: engine.update_labels([case]), 20)
    return [
        Row(f"answer written into the label file of one case ({shape} voxels)", f"{1000 * answered:.1f} ms"),
        Row("label update of one case after a cycle", f"{1000 * updated:.1f} ms"),
    ]


class Marks(Monitor):
    """Remembers when training steps ended."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def report(self, stage: str, done: int, total: int, detail: str = "") -> None:  # noqa: ARG002
        if stage == "train":
            self.times.append(time.perf_counter())


def training_row(project: RawDataset, work: Path) -> Row:
    marks = Marks()
    profile = get_profile("fast-cpu", members=1, first_iterations=40)
    Engine(project, work, profile, marks).train(work / "train", cases=project.cases, seed=1, cycle=0)
    step = statistics.median(np.diff(marks.times))
    return Row(f"one training step, fast-cpu, batch {profile.batch_size} of 32x32x32", f"{step:.3f} s")


def prediction_row(truth: RawDataset, engine: Engine, members: Path, work: Path) -> Row:
    """Ours against stock nnU-Net: one member, one case, preprocessing left out of neither."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    model = export_model(work, members, work / "exported")
    stock = nnUNetPredictor(
        tile_step_size=0.75,
        use_mirroring=False,
        device=torch.device("cpu"),
        perform_everything_on_device=False,
        allow_tqdm=False,
    )
    stock.initialize_from_trained_model_folder(str(model), (0,))
    case = truth.cases[0]
    image = truth.read_image(case)
    properties = {"spacing": list(image.geometry.spacing)}

    def theirs() -> object:
        return stock.predict_single_npy_array(image.array, dict(properties), None, None, True)

    ours = median_seconds(lambda: list(engine.predict(members, case)), 5)
    baseline = median_seconds(theirs, 5)
    return Row(
        "prediction of one case, one member, step 0.75 (ours from stored images)",
        f"{ours:.3f} s",
        f"stock nnU-Net {baseline:.3f} s",
        f"{baseline / ours:.1f}x",
    )


def quick_rows(folder: Path) -> list[Row]:
    truth = source(folder)
    project = project_of(truth, folder / "project", truth.cases[:10])
    work = folder / "work"
    engine = Engine(project, work, get_profile("fast-cpu", members=1))
    start = time.perf_counter()
    engine.prepare(project.cases)
    preparing = time.perf_counter() - start
    engine.update_labels(project.cases)
    return [
        Row("plan and preprocessing of ten cases", f"{preparing:.2f} s"),
        *label_rows(truth, project, engine),
        training_row(project, work),
        prediction_row(truth, engine, work / "train", work),
        start_row(truth, folder),
    ]


def start_row(truth: RawDataset, folder: Path) -> Row:
    """From the start of the process to the first training step, images and labels included."""
    command = [str(COMMAND), "simulate", str(truth.root), "--strategy", "random", "--cycles", "1"]
    command += ["--query-size", "4", "--patch", "20", "20", "20", "--profile", "smoke"]
    command += ["--out", str(folder / "start")]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(
            (folder / "start").glob("cycle_000/members/checkpoint_0.pt")
        ):
            time.sleep(0.01)
        taken = time.perf_counter() - start
        process.wait()
    return Row(f"process start until training runs ({len(truth.cases)} cases)", f"{taken:.1f} s")


def whole_run(arguments: list[str], out: Path, summary: str = "summary.json") -> tuple[float, float, dict]:
    """Seconds, peak GB (of the hungriest command so far) and summary of one command."""
    start = time.perf_counter()
    subprocess.run([str(COMMAND), *arguments, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return seconds, peak, json.loads((out / summary).read_text())


def long_rows(folder: Path) -> list[Row]:
    seconds, peak, summary = whole_run(["demo"], folder / "demo", "run/summary.json")
    rows = [
        Row("make demo, the loop itself", f"{seconds:.0f} s, {peak:.1f} GB, Dice {summary['final_dice']:.3f}")
    ]
    if HIPPOCAMPUS.exists():
        for strategy in ("clasp-pe", "random"):
            arguments = ["simulate", str(HIPPOCAMPUS), "--strategy", strategy, "--cycles", "5"]
            arguments += ["--query-size", "20", "--patch", "20", "20", "20", "--seed", "12345"]
            arguments += ["--profile", "fast-cpu"]
            seconds, peak, summary = whole_run(arguments, folder / strategy)
            text = f"{seconds / 60:.1f} min, {peak:.1f} GB, final Dice {summary['final_dice']:.3f}"
            rows.append(Row(f"hippocampus, five cycles of 20 patches, {strategy}", text))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--long", action="store_true", help="also whole runs, about half an hour")
    arguments = parser.parse_args()
    print(machine_line())
    print(head("what", "ours", "baseline", "ratio"))
    with tempfile.TemporaryDirectory() as name:
        for row in quick_rows(Path(name)):
            print(row, flush=True)
        if arguments.long:
            for row in long_rows(Path(name)):
                print(row, flush=True)


if __name__ == "__main__":
    main()
