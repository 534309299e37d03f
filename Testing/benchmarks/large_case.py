"""Measures what one large case of the pool takes, from the image to boxes: memory, temporary disk and time.

    python Testing/benchmarks/large_case.py --shape 96 128 128 --classes 4 --members 2 --memory 0.05
    python Testing/benchmarks/large_case.py --shape 500 512 512 --classes 16 --members 5 --slabs-only
    python Testing/benchmarks/large_case.py ... --made-up     in minutes instead of an hour

A random volume on disk and networks of the profile's size with random weights: figures do not depend on what
a network has learned. Each way runs in a process of its own, from the preprocessed image to the stored maps
(`Outputs.make_maps`): in slabs, and whole as small cases are. So do preprocessing, and queries of the stored
maps. `--made-up` leaves the network out: planes of logits come from a generator, all else is as ever.
"Anonymous" is memory of the process itself, sampled every 10 ms; the peak resident memory (VmHWM) also counts
mapped pages of libraries and files.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from apart import apart, peak_bytes
from table import head, line, machine_line

from nnactive_server.core.features import Embedding
from nnactive_server.core.files import write_json
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.labels import LabelSet
from nnactive_server.core.mapfiles import MAPS, map_path
from nnactive_server.core.voxels import open_voxels
from nnactive_server.dataset import RawDataset, write_volume
from nnactive_server.loop.outputs import OutputFolder, Outputs
from nnactive_server.loop.pool import Offers
from nnactive_server.query import Request, get_strategy

CASE = "large"
PATCH = (64, 64, 64)
WHOLE = 1 << 60
STRATEGIES = ("predictive-entropy", "clasp-pe")


def labels(classes: int) -> LabelSet:
    """With the background as many classes as asked for."""
    return LabelSet(tuple(f"class_{value}" for value in range(1, classes)))


def prepare(root: Path, options: argparse.Namespace) -> Iterator[str | dict[str, float]]:
    """Write the volumes, preprocess them and save networks of random weights; in words, and what it took."""
    import torch

    from nnactive_server.segmentation.training.members import TRAINING
    from nnactive_server.segmentation.training.recipe import Recipe
    from nnactive_server.segmentation.training.weights import member_path

    rng = np.random.default_rng(0)
    project = RawDataset.create(root, labels(options.classes).as_partial(), ("CT",), ".nii", "Large")
    # Two small cases decide what voxels the plan has.
    shapes = {CASE: tuple(options.shape), "small_0": (40, 48, 48), "small_1": (40, 48, 48)}
    for case, shape in shapes.items():
        spacing = (1.0, 1.0, 1.0) if case == CASE else (options.zoom,) * 3
        values = rng.integers(-1000, 1000, shape, dtype=np.int16)
        values[values == 0] = 1
        geometry = Geometry(shape, spacing, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
        write_volume(root / "imagesTr" / f"{case}_0000.nii", values, geometry)
    project = RawDataset.open(root)
    made = engine(project, root, options, WHOLE)
    with Sampler(root / "work") as sampler:
        start = time.perf_counter()
        made.prepare(project.cases)
        seconds = time.perf_counter() - start
    (root / "members").mkdir()
    for member in range(options.members):
        torch.manual_seed(member)
        torch.save(Recipe(made.plan).network().state_dict(), member_path(root / "members", member))
    splits = [{"held_out": []}] * options.members
    told = {"splits": splits, "profile": {"ensemble": "folds"}, "warm_start": False}
    write_json(root / "members" / TRAINING, told)
    grid = made._store.properties(CASE)["shape_on_plan_grid"]
    tile = made.plan.configuration.patch_size
    yield f"{' x '.join(map(str, grid))} voxels on the plan's grid, tiles of {' x '.join(map(str, tile))}"
    yield cost(sampler, seconds, root / "work")


def engine(project: RawDataset, root: Path, options: argparse.Namespace, memory: int) -> Any:
    """The engine that predicts within this many bytes."""
    import torch

    from nnactive_server.segmentation import Engine, detect, get_profile
    from nnactive_server.segmentation.hardware import Hardware

    hardware = detect()
    if options.device == "cpu" and hardware.device.type != "cpu":
        hardware = Hardware(torch.device("cpu"), None, False, hardware.threads, "CPU")
    hardware = dataclasses.replace(hardware, prediction_bytes=memory)
    profile = get_profile(options.profile, members=options.members)
    return Engine(project, root / "work", profile, hardware=hardware)


def predict(root: Path, options: argparse.Namespace, memory: int, name: str) -> Iterator[dict[str, float]]:
    """Make the maps of the large case once; what it took."""
    import torch

    torch.set_num_threads(options.threads)
    project = RawDataset.open(root)
    ours = engine(project, root, options, memory)
    ours._predictor.networks(root / "members")
    if options.made_up:
        ours._predictor.query_window.planes = partial(made_up, options.classes)
    outputs = Outputs(root / "members", [OutputFolder(root / name)], labels(options.classes))
    with Sampler(root / "work") as sampler:
        start = time.perf_counter()
        outputs.make_maps(ours, CASE)
        seconds = time.perf_counter() - start
    cuda = ours.hardware.device.type == "cuda"
    yield cost(sampler, seconds, root / name) | {"device": torch.cuda.max_memory_reserved() if cuda else 0}


def made_up(classes: int, _network: object, image: np.ndarray, _flips: object) -> Iterator[Any]:
    """Planes (C, y, x) of logits that say something else in every block of 16 x 16 voxels and every plane."""
    import torch

    for plane in image[0]:
        blocks = torch.randn(classes, *(n // 16 + 1 for n in plane.shape)) * 3
        fine = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2)
        yield fine[:, : plane.shape[0], : plane.shape[1]] + torch.from_numpy(np.array(plane))


def embed(root: Path, options: argparse.Namespace, kind: str) -> Iterator[dict[str, float]]:
    """What the features of all members take, for strategies that choose by them."""
    project = RawDataset.open(root)
    ours = engine(project, root, options, WHOLE)
    outputs = Outputs(root / "members", [OutputFolder(root / kind)], labels(options.classes))
    cell = Request(20, PATCH, 0, 5, 1).cell
    with Sampler(root / "work") as sampler:
        start = time.perf_counter()
        outputs.make_features(ours, CASE, Embedding(kind), cell)
        seconds = time.perf_counter() - start
    yield cost(sampler, seconds, root / kind)


def query(root: Path, options: argparse.Namespace, name: str, strategy: str) -> Iterator[dict[str, float]]:
    """What a strategy takes for the large case's candidates."""
    outputs = Outputs(root / "members", [OutputFolder(root / name)], labels(options.classes))
    request = Request(20, PATCH, 0, 5, 1)
    with Sampler(root / "work") as sampler:
        start = time.perf_counter()
        Offers(RawDataset.open(root), outputs, get_strategy(strategy), request).offer(CASE, ())
        seconds = time.perf_counter() - start
    yield cost(sampler, seconds, root / "nothing")


def cost(sampler: Sampler, seconds: float, made: Path) -> dict[str, float]:
    """The figures of a row; `made` is the folder of what is left on the disk."""
    return {
        "seconds": seconds,
        "before": sampler.before,
        "anonymous": sampler.anonymous,
        "resident": peak_bytes(),
        "temporary": sampler.temporary,
        "device": 0,
        "made": sum(path.stat().st_size for path in made.rglob("*") if path.is_file()),
    }


class Sampler(threading.Thread):
    """Watches this process while a block runs.

    Attributes:
        before: anonymous memory at its beginning, bytes.
        anonymous: the most there was.
        temporary: the most bytes of files in a folder that have no name any more.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._ended = threading.Event()
        self.before = self.anonymous = anonymous_bytes()
        self.temporary = 0

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(0.01):
            self.anonymous = max(self.anonymous, anonymous_bytes())
            self.temporary = max(self.temporary, nameless_bytes(self._folder))


def anonymous_bytes() -> int:
    """Memory of this process that no file stands behind."""
    for entry in Path("/proc/self/status").read_text().splitlines():
        if entry.startswith("RssAnon"):
            return int(entry.split()[1]) * 1024
    return 0


def nameless_bytes(folder: Path) -> int:
    """Size of the files that this process has open in a folder and that have no name."""
    sizes = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
            if target.startswith(f"{folder}/") and target.endswith("(deleted)"):
                found = os.fstat(int(link.name))
                sizes[found.st_ino] = found.st_size  # reading opens a file twice
        except OSError:  # closed meanwhile
            continue
    return sum(sizes.values())


def differences(root: Path, first: str, second: str) -> str:
    """How far the maps of two runs are apart, read plane by plane."""
    found = []
    for name in MAPS:
        ours, theirs = (open_voxels(map_path(root / way / "maps" / CASE, name)) for way in (first, second))
        worst, other = 0.0, 0
        for z in range(ours.shape[-3]):
            box = [slice(None)] * (len(ours.shape) - 3) + [slice(z, z + 1), slice(None), slice(None)]
            gap = np.abs(ours.read(box).astype(np.float32) - theirs.read(box).astype(np.float32))
            worst, other = max(worst, float(gap.max())), other + int(np.count_nonzero(gap))
        if name == "prediction":
            found.append(f"{name} in {100 * other / np.prod(ours.shape):.4f}% of the voxels")
        else:
            found.append(f"{name} by at most {worst:.2g}")
    return ", ".join(found)


def row(way: str, found: dict[str, float]) -> str:
    """A line of the table."""
    figures = (found[key] / 1e9 for key in ("anonymous", "resident", "device", "temporary", "made"))
    return line(way, *(f"{figure:.2f}" for figure in figures), f"{found['seconds']:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 128, 128), metavar=("Z", "Y", "X"))
    parser.add_argument("--classes", type=int, default=4, help="with the background")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--profile", default="fast-cpu", help="size of the network and of the tiles")
    parser.add_argument("--threads", type=int, default=1, help="of torch while weights are loaded")
    parser.add_argument("--zoom", type=float, default=1.0, help="size of the plan's voxels in the case's")
    parser.add_argument("--memory", type=float, help="gigabytes for slabs; else the product's limit")
    parser.add_argument("--embed", action="store_true", help="also features, with the network in any case")
    parser.add_argument("--made-up", action="store_true", help="logits from a generator, not the network")
    parser.add_argument("--slabs-only", action="store_true", help="not the whole arrays, which need far more")
    parser.add_argument("--folder", type=Path, help="on a disk with room; by default the temporary one")
    options = parser.parse_args()
    from nnactive_server.segmentation.hardware import PREDICTION_BYTES

    memory = PREDICTION_BYTES if options.memory is None else int(options.memory * 1e9)
    ways = {"slabs": memory} if options.slabs_only else {"slabs": memory, "whole": WHOLE}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="large-case-") as folder:
        root = Path(folder)
        (words, prepared), _ = apart(prepare, root, options)
        print(machine_line())
        print(f"{' x '.join(map(str, options.shape))}, {options.classes} classes, {options.members} members;")
        print(f"{words}; {memory / 1e9:.2f} GB for slabs\n")
        print(head("way", "anonymous GB", "VmHWM GB", "device GB", "temporary GB", "left GB", "seconds"))
        print(row("preprocessing", prepared), flush=True)
        for way, limit in ways.items():
            (found,), _ = apart(predict, root, options, limit, way)
            print(row(way, found), flush=True)
            before = found["before"]
        for strategy in STRATEGIES:
            (found,), _ = apart(query, root, options, "slabs", strategy)
            print(row(f"query, {strategy}", found), flush=True)
        for kind in Embedding if options.embed else ():
            (found,), _ = apart(embed, root, options, kind.value)
            print(row(f"features, {kind.value}", found), flush=True)
        print(f"\nBefore the prediction begins, {before / 1e9:.2f} GB are anonymous.")
        if len(ways) == 2:
            print(f"The maps differ: {differences(root, *ways)}.")


if __name__ == "__main__":
    main()
