"""How many boxes of the first query are the same when it is asked after the first part of the training.

    python Testing/benchmarks/early_overlap.py OUT STUDY --seeds 12345 12346

OUT is what `early_boxes.py` made; several strategies are asked with the maps of its first early look. STUDY
holds the finished experiments of the same seeds as `study run` lays them out (STUDY/STRATEGY/seed-N).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from early_boxes import CYCLES
from table import head, line, machine_line

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json
from nnactive_server.dataset import RawDataset, read_loops
from nnactive_server.loop import SPLIT, CycleFolder
from nnactive_server.loop.cycle import annotated_boxes
from nnactive_server.loop.outputs import Outputs
from nnactive_server.loop.pool import Offers
from nnactive_server.query import Request, get_strategy, merge_candidates

STRATEGIES = ("predictive-entropy", "bald", "power-pe", "clasp-pe")
SIZE = 20
Box = tuple[str, tuple[int, ...]]


def early(root: Path, strategy: str, seed: int) -> list[Box]:
    """Case and first voxel of the boxes that an early look proposes."""
    project, folder = RawDataset.open(root), CycleFolder(root, 0).early
    request = Request(20, (SIZE,) * 3, 0, CYCLES - 1, seed)
    chosen = get_strategy(strategy)
    offers = Offers(project, Outputs(folder.members, [folder.own], project.labels), chosen, request)
    taken = annotated_boxes(read_loops(root)[:1])
    cases = offers.asked(read_json(root / SPLIT, LoopError)["pool"], taken)
    made = merge_candidates((offers.offer(case, taken.get(case, ())) for case in cases), chosen, request)
    return [(query.case, query.patch.start) for query in made]


def final(root: Path) -> list[Box]:
    """The same of an experiment that was trained to the end."""
    found = read_json(CycleFolder(root, 0).queries, LoopError)
    return [(query["case"], tuple(query["start"])) for query in found]


def overlap(one: Box, other: Box) -> float:
    """Share of a box that lies in another."""
    sides = (max(0, SIZE - abs(a - b)) for a, b in zip(one[1], other[1], strict=True))
    return float(np.prod([*sides])) / SIZE**3 if one[0] == other[0] else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[12345, 12346])
    options = parser.parse_args()
    print(machine_line())
    print(head("strategy", "seed", "boxes", "the same", "more than half", "touching one"))
    for strategy in STRATEGIES:
        for seed in options.seeds:
            boxes = early(options.out / "early" / f"seed-{seed}", strategy, seed)
            others = final(options.study / strategy / f"seed-{seed}")
            best = [max(overlap(box, other) for other in others) for box in boxes]
            counts = (sum(share >= limit for share in best) for limit in (1.0, 0.5, 1e-9))
            print(line(strategy, seed, len(boxes), *counts), flush=True)


if __name__ == "__main__":
    main()
