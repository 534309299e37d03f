"""What leaving out flat tiles (`skip_flat`) saves in a CT and an MR, and what it changes.

    python Testing/benchmarks/flat_tiles.py

One `fast-cpu` network learns lungs and bones from the labelled part of the CT in ../shared/data/ct_thorax (30
planes); the images are then predicted with several limits. "Changed" compares with all tiles predicted. Both
images are cut close to the body, so the CT is also put into a wider field: air with noise of 10 HU on four
sides. The MR has no labels, and this is no network for it: only the number of tiles means something there.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from run import ROOT
from table import head, line, machine_line

from nnactive_server.core.labels import LabelSet
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset, read_image, read_label, write_patches, write_volume
from nnactive_server.segmentation import Engine, get_profile

IMAGES = ROOT.parent / "shared" / "data" / "ct_thorax"
LIMITS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.4)
STEPS = 400
WIDE = "ct_wide"
GROUPS = {"lung": range(10, 15), "bone": range(26, 117)}
"""Values of the labels, as TotalSegmentator numbers its classes."""
AIR = 40
"""Voxels of air on each side of the wider field."""


def project(root: Path) -> RawDataset:
    """CT, the same in a wider field, its labelled part (annotated completely) and the MR."""
    made = RawDataset.create(root, LabelSet(tuple(GROUPS)).as_partial(), ("CT",), ".nii.gz")
    for case in ("ct", "ct_sm", "mr_sm"):
        volume = read_image([IMAGES / f"example_{case}.nii.gz"])
        write_volume(root / "imagesTr" / f"{case}_0000.nii.gz", volume.array[0], volume.geometry)
        if case == "ct":
            wide = np.random.default_rng(0).normal(
                -1000, 10, np.add(volume.array.shape[1:], (0, 2 * AIR, 2 * AIR))
            )
            wide[inside(wide.shape)] = volume.array[0]
            geometry = replace(volume.geometry, shape=wide.shape)
            write_volume(root / "imagesTr" / f"{WIDE}_0000.nii.gz", wide.astype(np.float32), geometry)
    made = RawDataset.open(root)
    values = read_label(IMAGES / "example_seg.nii.gz").array
    labels = np.zeros(values.shape, np.uint8)
    for number, group in enumerate(GROUPS.values(), 1):
        labels[np.isin(values, list(group))] = number
    write_patches(made, "ct_sm", {Patch((0, 0, 0), labels.shape): labels})
    return made


def inside(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Where the image lies in its wider field (z, y, x)."""
    return slice(None), *(slice(AIR, n - AIR) for n in shape[1:])


def rows(engine: Engine, members: Path, dataset: RawDataset, case: str) -> list[str]:
    """A line for each limit."""
    found, reference = [], None
    for limit in LIMITS:
        profile = get_profile("fast-cpu", members=1, skip_flat=limit)
        ours = Engine(dataset, engine._workdir, profile)
        calls = counted(ours, members)
        next(iter(ours.predict(members, case)))  # loads what is loaded once
        calls.clear()
        start = time.perf_counter()
        softmax = next(iter(ours.predict(members, case)))
        seconds = time.perf_counter() - start
        reference = softmax if reference is None else reference
        labels, before = softmax.argmax(0), reference.argmax(0)
        changed = labels != before
        lost = changed & (labels == 0)
        added = np.ones_like(lost)
        added[inside(lost.shape) if case == WIDE else ...] = False
        cells = (f"{100 * changed.mean():.3f}%", np.count_nonzero(lost), np.count_nonzero(lost & added))
        found.append(line(case, limit, sum(calls), f"{seconds:.2f}", *cells))
    return found


def counted(engine: Engine, members: Path) -> list[int]:
    """Receives the number of tiles of each call of the networks."""
    calls: list[int] = []
    for network in engine._predictor.networks(members):
        network.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    return calls


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = project(root / "project")
        profile = get_profile("fast-cpu", members=1, first_iterations=STEPS)
        engine = Engine(dataset, root / "work", profile)
        engine.prepare(("ct_sm",))
        engine.prepare(dataset.cases)
        engine.update_labels(("ct_sm",))
        engine.train(root / "members", cases=("ct_sm",), seed=1, cycle=0)
        tile = engine.plan.configuration.patch_size
        print(machine_line())
        print(f"{STEPS} steps, tiles of {' x '.join(map(str, tile))}\n")
        print(
            head(
                "image",
                "limit",
                "tiles",
                "seconds",
                "voxels changed",
                "of them now background",
                "of these in the added air",
            )
        )
        for case in ("ct", WIDE, "mr_sm"):
            print("\n".join(rows(engine, root / "members", dataset, case)))


if __name__ == "__main__":
    main()
