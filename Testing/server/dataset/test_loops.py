from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnactive_server.core.errors import DatasetError
from nnactive_server.core.patch import Patch
from nnactive_server.dataset import LoopPatch, loop_path, read_loop, read_loops, write_loop

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
CASE = st.from_regex(r"[A-Za-z0-9][\w.\-]{0,12}", fullmatch=True)
START = st.tuples(*[st.integers(0, 500)] * 3)
SIZE = st.tuples(*[st.integers(1, 500)] * 3)
ENTRY = st.builds(
    LoopPatch,
    case=CASE,
    patch=st.builds(Patch, start=START, size=SIZE),
    score=st.none() | NUMBER,
    group=st.none() | st.text(max_size=8),
    rank=st.none() | st.integers(1, 99),
    world_corner=st.none() | st.tuples(NUMBER, NUMBER, NUMBER),
    annotator=st.none() | st.text(max_size=8),
    seconds=st.none() | NUMBER,
    status=st.none() | st.text(max_size=8),
)
PLAIN = {"file": "case_1.nii.gz", "coords": [1, 2, 3], "size": [4, 5, 6]}


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(ENTRY, max_size=4))
def test_what_is_written_is_read_back(tmp_path: Path, ending: str, entries: list[LoopPatch]) -> None:
    write_loop(tmp_path, 0, entries, ending)
    assert read_loop(loop_path(tmp_path, 0)) == tuple(entries)


def test_the_plain_format_is_written_and_read(tmp_path: Path) -> None:
    entry = LoopPatch("case_1", Patch((1, 2, 3), (4, 5, 6)))
    write_loop(tmp_path, 0, [entry], ".nii.gz")
    assert json.loads((tmp_path / "loop_000.json").read_text()) == {"patches": [PLAIN]}
    assert read_loops(tmp_path)[0] == (entry,)


def test_unknown_keys_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "loop_000.json"
    path.write_text(json.dumps({"patches": [PLAIN | {"colour": "red", "score": None}], "made_by": "x"}))
    assert read_loop(path) == (LoopPatch("case_1", Patch((1, 2, 3), (4, 5, 6))),)


def test_loops_come_in_order_of_their_numbers(tmp_path: Path) -> None:
    assert read_loops(tmp_path) == ()
    for number in (2, 0, 1):
        write_loop(tmp_path, number, [LoopPatch(f"c{number}", Patch((0, 0, 0), (1, 1, 1)))], ".nii.gz")
    assert [loop[0].case for loop in read_loops(tmp_path)] == ["c0", "c1", "c2"]


@pytest.mark.parametrize("numbers", [(1,), (0, 2), (0, 1, 3)])
def test_a_missing_loop_is_named(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    for number in numbers:
        write_loop(tmp_path, number, [], ".nii.gz")
    gap = next(i for i in range(9) if i not in numbers)
    with pytest.raises(DatasetError, match=f"loop_00{gap}.json: missing"):
        read_loops(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a JSON document"),
        ("[]", "list 'patches'"),
        ('{"patches": 3}', "list 'patches'"),
        ('{"patches": [3]}', "patch 0: must be an object"),
        (json.dumps({"patches": [PLAIN, {"file": "a.nii.gz"}]}), "patch 1: lacks coords, size"),
        (json.dumps({"patches": [PLAIN | {"coords": [1, 2]}]}), "three whole numbers"),
        (json.dumps({"patches": [PLAIN | {"coords": [1, 2, 3.5]}]}), "three whole numbers"),
        (json.dumps({"patches": [PLAIN | {"coords": [-1, 2, 3]}]}), "negative"),
        (json.dumps({"patches": [PLAIN | {"size": [0, 1, 1]}]}), "at least 1"),
        (json.dumps({"patches": [PLAIN | {"file": "../../etc/passwd"}]}), "without a folder"),
        (json.dumps({"patches": [PLAIN | {"score": "high"}]}), "finite number"),
        (
            '{"patches": [{"file": "a.nii", "coords": [0,0,0], "size": [1,1,1], "score": NaN}]}',
            "finite number",
        ),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "loop_000.json").write_text(text)
    with pytest.raises(DatasetError, match=rf"loop_000\.json.*{words}"):
        read_loops(tmp_path)


def test_a_score_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"loop_000\.json.*finite"):
        write_loop(tmp_path, 0, [LoopPatch("a", Patch((0, 0, 0), (1, 1, 1)), score=float("nan"))], ".nii.gz")
    assert list(tmp_path.iterdir()) == []
