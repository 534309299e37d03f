"""The job `cycle` with the real engine: nnU-Net, a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nnactive_server.dataset import RawDataset
from nnactive_server.jobs.cycle import nnunet
from nnactive_server.loop import CycleFolder, export_project, requery
from nnactive_server.segmentation import Engine, export_model, get_profile
from nnactive_server.store import Store
from testkit.clinic import Clinic


def test_two_cycles_with_a_case_that_came_later(
    store: Store, data: Path, source: RawDataset, tmp_path: Path
) -> None:
    clinic = Clinic.found(store, data, source, cases=3)
    placed = clinic.start()
    first = clinic.cycle(make_engine=nnunet)
    assert (first["proposed"], sorted(first["quality"])) == (3, ["case_0", "case_1", "case_2"])
    clinic.answer_batch(1)
    clinic.answer(placed[0], labels=np.full((4, 5, 4), 2))
    clinic.add_case("case_3")
    clinic.answer(clinic.place("case_3", (4, 4, 4)))
    second = clinic.cycle(make_engine=nnunet)
    assert (second["model"], second["patches"], len(second["quality"])) == ("cycle-001", 8, 4)
    assert set(second["before_training"]) == {"large", "small"}
    assert len(clinic.batch(2)) == 3
    told = export_project(clinic.root, tmp_path / "export", export_model)
    assert (told["cycle"], told["label_maps"]) == (1, 4)
    again = requery(clinic.root, "clasp-pe", lambda p, w, profile, m: Engine(p, w, get_profile(**profile), m))
    asked = [(q.case, q.patch) for q in again.proposal]
    assert asked == [(clinic.case_name(p), p.box) for p in clinic.batch(2)]
    assert again.computed == 0
    assert CycleFolder(clinic.root, 1).maps("case_3").exists()
