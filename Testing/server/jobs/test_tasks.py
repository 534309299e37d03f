from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nnactive_server.core import errors
from nnactive_server.core.errors import InvalidInput, NNActiveError, NoSpace, StoreError, TooLarge
from nnactive_server.jobs.registry import JOBS, TASKS
from nnactive_server.jobs.tasks import TASKS_AT_ONCE, run_task

PROBE = (sys.executable, str(Path(__file__).with_name("probe_tasks.py")))
MEBIBYTE = 2**20


@pytest.fixture
def task(data: Path) -> Callable[..., dict[str, Any]]:
    def run(do: str, seconds: float = 30.0, memory_bytes: int | None = None, **params: Any) -> dict[str, Any]:
        return run_task(
            "probe",
            {"do": do, **params},
            data=data,
            seconds=seconds,
            memory_bytes=memory_bytes,
            registry={"probe": ""},
            command=PROBE,
        )

    return run


Task = Callable[..., dict[str, Any]]


def test_a_task_gets_its_params_and_works_in_the_data_folder(task: Task, data: Path) -> None:
    assert task("echo", size=[1, 2], name="Leber β") == {
        "params": {"do": "echo", "size": [1, 2], "name": "Leber β"},
        "folder": str(data),
    }


@pytest.mark.parametrize("name", ["NotFound", "DatasetError", "GeometryMismatch", "Conflict", "TooLarge"])
def test_an_error_of_a_task_arrives_as_what_it_was(task: Task, name: str) -> None:
    with pytest.raises(NNActiveError, match=r"^case_1.nii: has no voxels; choose another file$") as caught:
        task("raise", error=name)
    assert type(caught.value) is getattr(errors, name)


@pytest.mark.parametrize(
    ("do", "words"),
    [("crash", "ValueError: the sky fell down"), ("list", "no result"), ("nan", "Out of range float")],
)
def test_what_nobody_foresaw_is_told_in_its_last_words(task: Task, do: str, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        task(do)


@pytest.mark.parametrize(("code", "words"), [(0, "gone fishing"), (7, "gone fishing")])
def test_a_task_that_leaves_without_a_reply_has_failed(task: Task, code: int, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        task("exit", code=code)


def test_a_crash_below_python_is_told_by_its_signal(task: Task) -> None:
    with pytest.raises(StoreError, match="SIGSEGV"):
        task("fault")


def test_a_task_that_takes_too_long_ends_with_its_children(
    task: Task, tmp_path: Path, wait: Any, alive: Any
) -> None:
    file = tmp_path / "child"
    with pytest.raises(StoreError, match="stopped after 2 s"):
        task("hang", seconds=2.0, file=str(file))
    child = int(file.read_text())
    wait(lambda: not alive(child))


def test_more_memory_than_allowed_is_refused(task: Task) -> None:
    with pytest.raises(TooLarge, match="memory"):
        task("bomb", memory_bytes=1024 * MEBIBYTE)


def test_a_full_disk_is_named(task: Task) -> None:
    with pytest.raises(NoSpace, match="disk is full"):
        task("disk")


def test_a_task_leaves_no_memory_image_and_sees_no_secrets(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNACTIVE_TOKEN", "secret")
    found = task("limits", memory_bytes=1024 * MEBIBYTE)
    assert (found["core"], found["memory"]) == (0, 1024 * MEBIBYTE)
    assert found["environment"]["OMP_NUM_THREADS"] == "1"
    assert "NNACTIVE_TOKEN" not in found["environment"]


def test_only_a_few_tasks_run_at_once(task: Task, tmp_path: Path) -> None:
    folder = tmp_path / "marks"
    folder.mkdir()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: task("count", folder=str(folder))["together"], range(6)))
    assert max(found) == TASKS_AT_ONCE


def test_an_unknown_task_is_refused(data: Path) -> None:
    with pytest.raises(InvalidInput, match="'rm'"):
        run_task("rm", {}, data=data, seconds=1.0)


def test_params_must_be_json(task: Task) -> None:
    for value in (b"bytes", float("nan"), {1, 2}):
        with pytest.raises(InvalidInput, match="JSON"):
            task("echo", value=value)


def test_the_runner_of_the_package_is_found_from_any_folder(data: Path) -> None:
    """Its handlers belong to others: it is enough that the name reaches the process and is refused there."""
    (data / "json.py").write_text("raise SystemExit('a file in the data folder was taken for a module')")
    with pytest.raises(InvalidInput, match="knows intake"):
        run_task("unheard-of", {}, data=data, seconds=30.0, registry={"unheard-of": ""})


def test_names_of_functions_are_complete() -> None:
    for target in (*JOBS.values(), *TASKS.values()):
        module, colon, function = target.partition(":")
        assert module.startswith("nnactive_server.jobs.")
        assert (colon, function.isidentifier()) == (":", True)


def test_killed_for_lack_of_memory_is_said(task: Task) -> None:
    with pytest.raises(StoreError, match="lack of memory"):
        task("kill", signal=int(signal.SIGKILL))
