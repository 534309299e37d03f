"""How many boxes of the first query are the same when it is asked after the first part of the training.

    python Testing/benchmarks/early_overlap.py OUT STUDY --seeds 12345 12346

OUT is what `early_boxes.py` made; several strategies are asked with the maps of its first early look. STUDY
holds the finished experiments of the same seeds as `study run` lays them out (STUDY/STRATEGY/seed-N).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from early_boxes import CYCLES
from table import head, line, machine_line

from nnactive_server.core.errors import LoopError
from nnactive_server.core.files import read_json
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import RawDataset, read_loops
from nnactive_server.loop import SPLIT, CycleFolder
from nnactive_server.loop.cycle import annotated_boxes
from nnactive_server.loop.outputs import Outputs
from nnactive_server.loop.pool import Offers
from nnactive_server.query import Request, get_strategy, merge_candidates

STRATEGIES = ("predictive-entropy", "bald", "power-pe", "clasp-pe")
SIZE = 20
Box = tuple[str, Patch]


def early(root: Path, strategy: str, seed: int) -> list[Box]:
    """The boxes, each with its case, that an early look proposes."""
    project, folder = RawDataset.open(root), CycleFolder(root, 0).early
    request = Request(20, (SIZE,) * 3, 0, CYCLES - 1, seed)
    chosen = get_strategy(strategy)
    offers = Offers(project, Outputs(folder.members, [folder.own], project.labels), chosen, request)
    taken = annotated_boxes(read_loops(root)[:1])
    cases = offers.asked(read_json(root / SPLIT, LoopError)["pool"], taken)
    made = merge_candidates((offers.offer(case, taken.get(case, ())) for case in cases), chosen, request)
    return [(query.case, query.patch) for query in made]


def final(root: Path) -> list[Box]:
    """The same of an experiment that was trained to the end."""
    found = read_json(CycleFolder(root, 0).queries, LoopError)
    return [(query["case"], Patch(tuple(query["start"]), tuple(query["size"]))) for query in found]


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
            best = [
                max((box.overlap(other) for at, other in others if at == case), default=0)
                for case, box in boxes
            ]
            counts = (sum(voxels >= least for voxels in best) for least in (SIZE**3, SIZE**3 / 2, 1))
            print(line(strategy, seed, len(boxes), *counts), flush=True)


if __name__ == "__main__":
    main()
