"""Where maps lie, and which are the newest."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from nnactive_server.core import mapfiles
from nnactive_server.core.mapfiles import (
    MAPS,
    QUALITY,
    cycle_path,
    holds_maps,
    map_folder,
    map_path,
    newest_maps,
    open_newest,
    read_quality,
    write_quality,
)
from nnactive_server.core.voxels import NotStored, VoxelsError, save_voxels


def store(root: Path, cycle: int, case: str = "liver", queried: bool = True) -> Path:
    maps = map_folder(root, cycle, case)
    write_quality(maps, 0.5)
    for name in MAPS:
        save_voxels(map_path(maps, name), np.full((2, 3, 4), cycle, np.int16))
    if queried:
        (cycle_path(root, cycle) / "queries.json").write_text("[]")
    return maps


def test_a_case_has_a_folder_in_the_cycle_that_predicted_it(tmp_path):
    maps = map_folder(tmp_path, 7, "liver")
    assert maps == tmp_path / "cycle_007" / "maps" / "liver"
    assert map_path(maps, "prediction") == maps / "prediction.b2nd"


def test_maps_are_there_when_all_files_are(tmp_path):
    maps = store(tmp_path, 0)
    names = {path.name for path in maps.iterdir()}
    assert names == {
        "predictive_entropy.b2nd", "mutual_information.b2nd", "mean_probability.b2nd", "prediction.b2nd",
        "quality.json",
    }  # fmt: skip
    for name in names:
        assert holds_maps(maps)
        (maps / name).rename(maps / "aside")
        assert not holds_maps(maps)
        (maps / "aside").rename(maps / name)
    assert not holds_maps(tmp_path / "none")


def test_the_newest_complete_maps_of_a_queried_cycle_count(tmp_path):
    assert newest_maps(tmp_path, "liver") is None
    first = store(tmp_path, 0)
    assert newest_maps(tmp_path, "liver") == (0, first)
    second = store(tmp_path, 1, queried=False)
    assert newest_maps(tmp_path, "liver") == (0, first)
    (cycle_path(tmp_path, 1) / "queries.json").write_text("[]")
    assert newest_maps(tmp_path, "liver") == (1, second)
    (second / QUALITY).unlink()
    assert newest_maps(tmp_path, "liver") == (0, first)
    assert newest_maps(tmp_path, "spleen") is None


def test_cycles_are_ordered_by_number_and_other_folders_are_none(tmp_path):
    for cycle in (2, 10, 1000):
        store(tmp_path, cycle)
        assert newest_maps(tmp_path, "liver") == (cycle, map_folder(tmp_path, cycle, "liver"))
    for name in ("cycle_", "cycle_x", ".cycle_2000", "cycle_9999.old"):
        shutil.copytree(cycle_path(tmp_path, 2), tmp_path / name)
    assert newest_maps(tmp_path, "liver") == (1000, map_folder(tmp_path, 1000, "liver"))


def test_no_project_has_no_maps(tmp_path):
    (tmp_path / "file").touch()
    for root in (tmp_path / "none", tmp_path / "file"):
        assert newest_maps(root, "liver") is None
        assert open_newest(root, "liver", "prediction") is None


def test_the_newest_map_is_opened_with_its_cycle(tmp_path):
    for cycle in (0, 1):
        store(tmp_path, cycle)
        found = open_newest(tmp_path, "liver", "prediction")
        assert found is not None
        assert (found[0], set(found[1].array().ravel())) == (cycle, {cycle})


def test_maps_that_go_between_looking_and_opening_are_looked_for_again(tmp_path, monkeypatch):
    store(tmp_path, 0)
    newest = store(tmp_path, 1)
    look = mapfiles.newest_maps

    def look_and_lose(root, case):
        found = look(root, case)
        shutil.rmtree(newest, ignore_errors=True)
        return found

    monkeypatch.setattr(mapfiles, "newest_maps", look_and_lose)
    found = open_newest(tmp_path, "liver", "prediction")
    assert found is not None
    assert found[0] == 0


def test_readers_never_stumble_over_a_process_that_tidies(tmp_path):
    store(tmp_path, 0)
    ended = threading.Event()

    def churn() -> None:
        for cycle in range(1, 25):
            store(tmp_path, cycle)
            shutil.rmtree(cycle_path(tmp_path, cycle - 1))
        ended.set()

    seen = []
    tidying = threading.Thread(target=churn)
    tidying.start()
    while not ended.is_set():
        found = open_newest(tmp_path, "liver", "mutual_information")
        assert found is not None
        seen.append(found[0])
        assert (found[1].array() == found[0]).all()
    tidying.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 2


def test_a_damaged_map_is_named(tmp_path):
    maps = store(tmp_path, 0)
    map_path(maps, "prediction").write_bytes(b"half")
    with pytest.raises(VoxelsError, match=r"liver/prediction\.b2nd: not readable"):
        open_newest(tmp_path, "liver", "prediction")


@pytest.mark.parametrize(("agreement", "expected"), [(0.25, 0.25), (1.0, 1.0), (float("nan"), None)])
def test_quality_is_kept_with_the_maps(tmp_path, agreement, expected):
    write_quality(tmp_path / "liver", agreement)
    assert read_quality(tmp_path / "liver") == expected


def test_quality_that_is_not_there_or_damaged_is_told(tmp_path):
    with pytest.raises(NotStored, match=r"quality\.json"):
        read_quality(tmp_path)
    for text in ("", "[]", "{}", '{"pairwise_dice": "high"}'):
        (tmp_path / "quality.json").write_text(text)
        with pytest.raises(VoxelsError, match=r"quality\.json") as caught:
            read_quality(tmp_path)
        assert not isinstance(caught.value, NotStored)
