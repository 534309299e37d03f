from __future__ import annotations

import numpy as np
import pytest

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.files import atomic_path, read_json, remove_leftovers, write_json


def test_a_write_that_fails_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "state.json"
    write_json(target, {"value": 1})

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        fail()
    assert read_json(target) == {"value": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_the_temporary_name_keeps_the_ending_and_is_hidden(tmp_path):
    with atomic_path(tmp_path / "deep" / "label.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"x")
    assert (tmp_path / "deep" / "label.nii.gz").read_bytes() == b"x"


def test_numbers_of_numpy_are_plain_json_and_nan_is_refused(tmp_path):
    write_json(tmp_path / "a.json", {"n": np.int64(3), "v": np.array([1.5]), "p": tmp_path})
    assert read_json(tmp_path / "a.json") == {"n": 3, "v": [1.5], "p": str(tmp_path)}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"n": float("nan")})
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_a_missing_or_broken_document_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.json"):
        read_json(path, DatasetError)


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    names = ("a.json", ".lock", "deep/.hidden.json", "deep/.12ab34cd", "deep/half.json")
    kept = [tmp_path / name for name in names]
    with atomic_path(tmp_path / "deep" / "half.json") as temporary:
        temporary.write_text("half")
        other = "1" if temporary.name[1] == "0" else "0"  # a name of its own, whatever was drawn
        left = temporary.with_name(f".{other}{temporary.name[2:]}")
        left.write_text("as after a kill")
    for path in kept:
        path.write_text("kept")
    assert left.exists()
    remove_leftovers(tmp_path)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
