"""What training and pool prediction cost, part by part, beside stock nnU-Net; `make bench-train`.

    python Testing/benchmarks/train.py             the `fast-cpu` plan, about three minutes on two cores
    python Testing/benchmarks/train.py --paper     also nnU-Net's own plan for these images, some minutes more
    python Testing/benchmarks/train.py --large     instead, nnU-Net's plan for images of 160x160x160, two
                                                   crops of 128x128x128 a step; for a GPU

Hippocampus images from ../shared/data when they are there, phantoms otherwise, one patch of 20x20x20
annotated in each of ten. Everything is measured in this run, part by part, on the best device there is.
Between parts the device is waited for, which the real training does not do.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from run import project_of, source
from table import head, line, machine_line, median_seconds
from train_split import Split, finisher, forward_flops, peak_flops
from train_stock import split_seconds, stock_step

from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.dataset import RawDataset, write_volume
from nnactive_server.loop.outputs import OutputFolder, Outputs
from nnactive_server.segmentation import Engine, export_model, get_profile
from nnactive_server.segmentation.prediction import predictor
from nnactive_server.segmentation.profiles import Profile
from nnactive_server.segmentation.training.member_run import MemberKey, MemberRun
from nnactive_server.segmentation.training.sampling import CropSampler

STEPS = 30
CASES = 10


class Bench:
    """One profile on one project."""

    def __init__(self, truth: RawDataset, folder: Path, profile: Profile) -> None:
        self.folder = folder / profile.name
        self.project = project_of(truth, self.folder / "project", truth.cases[:CASES])
        self.engine = Engine(self.project, self.folder / "work", profile)
        self.engine.prepare(self.project.cases)
        self.engine.update_labels(self.project.cases)
        self.profile, self.plan, self.hardware = profile, self.engine.plan, self.engine.hardware
        self.finish = finisher(self.hardware)

    def title(self) -> str:
        crop = "x".join(map(str, self.plan.configuration.patch_size))
        return f"{self.profile.name}: batch {self.plan.configuration.batch_size} of {crop}"

    def training(self, steps: int) -> list[str]:
        """Rows: ours by part, stock nnU-Net by part, and the arithmetic limit."""
        sampler = self._sampler()
        key, out = MemberKey(1, 0, 0), self.folder / "run"
        run = MemberRun(self.engine._predictor.recipe, sampler, self.profile, self.hardware, out, key, 10_000)
        split = Split(self.finish)
        parts = {
            "data": [(sampler, "place" if self.hardware.resident else "draw")],
            "augmentation": [(run._batches, "draw")],
            "forward": [(run._network, "forward")],
            "loss": [(run, "_loss")],
            "backward": [(torch.Tensor, "backward")],
            "optimiser": [
                (torch.nn.utils, "clip_grad_norm_"),
                (run._optimiser, "step"),
                (run._optimiser, "zero_grad"),
                (run._mean, "update"),
            ],
        }
        run._step(0)
        whole = []
        for step in range(1, steps + 1):
            start = time.perf_counter()
            run._step(step)
            self.finish()
            whole.append(time.perf_counter() - start)
        with split.watching(parts):
            for step in range(steps + 1, 2 * steps + 1):
                run._step(step)
        each = {part: split.seconds[part] / steps for part in parts}
        ours = statistics.median(whole)
        data, network = self._stock(steps)
        flops = self._flops(run)
        matrix, convolution = peak_flops(self.hardware)
        made = each["data"] + each["augmentation"]
        return [
            line("whole step", ms(ours), ms(data + network), f"{(data + network) / ours:.2f}x"),
            line("data and augmentation", ms(made), ms(data), f"{data / made:.2f}x"),
            *(line(part, ms(each[part]), "", "") for part in each),
            line("network: forward, loss, backward, optimiser", "", ms(network), ""),
            line(
                "arithmetic limit of the convolutions, three times forward",
                ms(3 * flops / convolution),
                f"{flops / 1e9:.2f} GFLOP forward; peak {convolution / 1e9:.0f} GFLOP/s convolution, "
                f"{matrix / 1e9:.0f} matrix product",
                f"{100 * 3 * flops / convolution / ours:.0f} % of it reached",
            ),
        ]

    def pool(self) -> list[str]:
        """Rows: a pool case by part, and stock nnU-Net's prediction."""
        members = self.folder / "members"
        with contextlib.redirect_stdout(io.StringIO()):
            self.engine.train(members, cases=self.project.cases, seed=1, cycle=0)
        case, split = self.project.cases[0], Split(self.finish)
        read = median_seconds(lambda: self.project.read_image(case), 5)
        image = self.project.read_image(case)
        prepared = median_seconds(lambda: self.engine._store.store_image(case, image), 5)
        count = self.profile.members
        outputs = Outputs(members, [OutputFolder(self.folder / "maps")], self.project.labels)
        outputs.make_maps(self.engine, case)
        window = self.engine._predictor.query_window
        from nnactive_server.loop import outputs as module

        parts = {
            "tiles": [(window, "together")],
            "resampling and softmax": [(predictor, "to_case_grid")],
            "uncertainty": [(module, "uncertainty_maps")],
            "writing maps": [(module, "save_voxels"), (module, "write_quality")],
        }
        start = time.perf_counter()
        with split.watching(parts):
            for _ in range(5):
                outputs.make_maps(self.engine, case)
        whole = (time.perf_counter() - start) / 5
        stock = self._stock_prediction(members)
        return [
            line(
                f"pool case, {count} members, from the stored image to stored maps",
                ms(whole),
                ms(count * stock),
                f"{count * stock / whole:.1f}x (one member with its preprocessing, times {count})",
            ),
            line("read image", ms(read), "", ""),
            line("preprocess and store", ms(prepared), "", ""),
            *(line(part, ms(split.seconds[part] / 5), "", "") for part in parts),
        ]

    def _sampler(self) -> CropSampler:
        recipe = self.engine._predictor.recipe
        torch.set_num_threads(self.hardware.threads)
        return CropSampler(
            [self.engine._store.training_case(case) for case in self.project.cases],
            recipe.crop,
            recipe.geometry[2],
            self.plan.labels.ignore,
            self.profile.foreground_share,
            proportional=True,
        )

    def _stock(self, steps: int) -> tuple[float, float]:
        with stock_step(self.project, self.plan, self.folder / "stock", self.hardware.device) as (
            batch,
            step,
        ):
            return split_seconds(batch, step, steps, self.finish)

    def _flops(self, run: MemberRun) -> float:
        images, _ = run._batches.draw(0)
        return forward_flops(run._network, images)

    def _stock_prediction(self, members: Path) -> float:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        model = export_model(self.folder / "work", members, self.folder / "exported")
        stock = nnUNetPredictor(
            tile_step_size=self.profile.query_step,
            use_mirroring=False,
            device=self.hardware.device,
            perform_everything_on_device=self.hardware.device.type == "cuda",
            allow_tqdm=False,
        )
        stock.initialize_from_trained_model_folder(str(model), (0,))
        image = self.project.read_image(self.project.cases[0])
        spacing = {"spacing": list(image.geometry.spacing)}
        return median_seconds(
            lambda: stock.predict_single_npy_array(image.array, dict(spacing), None, None, True), 3
        )


def volumes(root: Path, edge: int) -> RawDataset:
    """Two images of random numbers, cubes of so many voxels of 1 mm, with a labelled ball in each."""
    rng = np.random.default_rng(0)
    RawDataset.create(root, LabelSet(("ball",)), ("CT",), ".nii.gz", "Large")
    shape = (edge,) * 3
    geometry = Geometry(shape, (1.0,) * 3, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    far = sum((axis - edge / 2) ** 2 for axis in np.ogrid[:edge, :edge, :edge])
    ball = (far < (edge / 4) ** 2).astype(np.uint8)
    for case in ("large_0", "large_1"):
        values = (rng.normal(size=shape) * 100 + 300.0 * ball + 1).astype(np.int16)
        write_volume(root / "imagesTr" / f"{case}_0000.nii.gz", values, geometry)
        write_volume(root / "labelsTr" / f"{case}.nii.gz", ball, geometry)
    return RawDataset.open(root)


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--paper", action="store_true", help="also nnU-Net's own plan, five times slower")
    parser.add_argument("--large", action="store_true", help="nnU-Net's plan for large images, nothing else")
    parser.add_argument("--edge", type=int, default=160, help="voxels of these images along each axis")
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps that are timed")
    parser.add_argument("--batch", type=int, help="crops of a step; as the profile has it when not given")
    arguments = parser.parse_args()
    profile = get_profile("fast-cpu", first_iterations=20, iterations=5)
    profile = replace(profile, batch_size=arguments.batch or profile.batch_size)
    print(machine_line())
    with tempfile.TemporaryDirectory() as name:
        if arguments.large:
            large = Bench(volumes(Path(name) / "truth", arguments.edge), Path(name), get_profile("paper"))
            print(head(f"one training step, {large.title()}", "ours", "stock nnU-Net", "ratio"))
            print("\n".join(large.training(arguments.steps)), flush=True)
            return
        truth = source(Path(name))
        small = Bench(truth, Path(name), profile)
        print(head(f"one training step, {small.title()}", "ours", "stock nnU-Net", "ratio"))
        print("\n".join(small.training(arguments.steps)), flush=True)
        print("\n" + head("pool prediction", "ours", "stock nnU-Net", "ratio"))
        print("\n".join(small.pool()), flush=True)
        if arguments.paper:
            large = Bench(truth, Path(name), get_profile("paper"))
            print("\n" + head(f"one training step, {large.title()}", "ours", "stock nnU-Net", "ratio"))
            print("\n".join(large.training(max(2, arguments.steps // 10))), flush=True)


if __name__ == "__main__":
    main()
