"""Locks, what pip is told and says, and what the room imports."""

import subprocess
import sys
from pathlib import Path

import pytest

import NNActiveLogic.local
from NNActiveLogic.local import Damaged, LocalError, NoSpace, Offline, Sources, Stage
from NNActiveLogic.local.files import FileLock, Users, held, tail
from NNActiveLogic.local.installing import Plan, _Attempt, versions
from NNActiveLogic.local.machine import Card, Machine
from NNActiveLogic.local.pip_output import PipOutput
from testkit.imports import imported
from testkit.tiny_server import make_wheel

FILES = sorted(Path(NNActiveLogic.local.__file__).parent.glob("*.py"))
LOCKED = "import sys; from NNActiveLogic.local.files import *; from pathlib import Path; "


def in_another_program(code, *words):
    command = [sys.executable, "-c", LOCKED + code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=FILES[0].parents[2]).stdout


def test_a_lock_is_held_until_it_is_given_back(tmp_path):
    path = tmp_path / "lock"
    assert not held(path)
    lock = FileLock(path)
    assert lock.take()
    assert held(path)
    assert in_another_program("print(held(Path(sys.argv[1])), FileLock(Path(sys.argv[1])).take())", path) == (
        "True False\n"
    )
    lock.give_back()
    assert not held(path)
    assert in_another_program("print(FileLock(Path(sys.argv[1])).take())", path) == "True\n"
    assert lock.take()  # that program has ended
    lock.give_back()


def test_users_are_counted_and_the_dead_tidied_away(tmp_path):
    one, two = Users(tmp_path), Users(tmp_path)
    assert one.others() == 0
    one.enter()
    two.enter()
    assert (one.others(), two.others()) == (1, 1)
    in_another_program("Users(Path(sys.argv[1])).enter()", tmp_path)  # dies without leaving
    assert len([*tmp_path.iterdir()]) == 3
    assert one.others() == 1
    assert len([*tmp_path.iterdir()]) == 2
    two.leave()
    assert one.others() == 0
    one.leave()
    assert [*tmp_path.iterdir()] == []


def test_the_end_of_a_log_is_read_however_long_it_is(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {n} ü\n" for n in range(50_000)))
    assert tail(log, 2) == ("line 49998 ü", "line 49999 ü")
    assert tail(tmp_path / "none", 2) == tail(None, 2) == ()


def test_what_pip_says_becomes_progress():
    told = []
    output = PipOutput(told.append, 200_000_000)
    for line in (
        "Collecting torch",
        "  Downloading torch-2.13.0-cp312-none-any.whl (100.0 MB)",
        "Progress 0 of 100000000",
        "Progress 50000000 of 100000000",
        "Collecting numpy",
        "  Using cached numpy-2.4.6.whl (50 MB)",
        "Installing collected packages: numpy, torch",
    ):
        output.heard(line)
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions)
    assert told[3].detail == "torch"
    assert told[3].fraction == pytest.approx(0.1 + 0.6 * 0.25)
    assert told[5].fraction == pytest.approx(0.1 + 0.6 * 0.75)
    assert told[-1].stage == Stage.INSTALL
    unknown = PipOutput(told.append, 0)
    unknown.heard("Collecting numpy")
    assert told[-1].fraction is None


@pytest.mark.parametrize(
    ("line", "kind", "word"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            NoSpace,
            "full",
        ),
        (
            "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('",
            Offline,
            "offline",
        ),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES from the requirements file.", Damaged, "HASHES"),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", LocalError, "torch==2.13.0"),
        ("ERROR: ResolutionImpossible: for help visit x", LocalError, "ResolutionImpossible"),
        ("Segmentation fault", LocalError, "Segmentation fault"),
    ],
)
def test_what_pip_gives_up_with_becomes_a_sentence(line, kind, word, tmp_path):
    output = PipOutput(lambda _: None, 0)
    for one in ("Collecting x", line, ""):
        output.heard(one)
    problem = output.problem(Sources(), tmp_path)
    assert type(problem) is kind
    assert word in problem.what
    assert problem.advice


def attempt(tmp_path, sources, card=None, system="linux"):
    plan = Plan(tmp_path, {}, sources, Machine(system, "x86_64"), card, None)
    return _Attempt(plan, None, lambda _: None, lambda: False, None)


def test_torch_fits_the_graphics_card_and_nobody_downloads_gigabytes_unasked(tmp_path):
    given = tmp_path / "given.txt"
    given.write_text("numpy==2.4.6\ntorch==2.13.0\ntorchvision==0.28.0\n")
    sources = Sources(constraints=given)
    words = attempt(tmp_path, sources)._arguments()
    assert "--find-links=https://download.pytorch.org/whl/cpu/torch/" in words
    assert words[-1] == "nnactive-server"
    used = Path(words[words.index("--constraint") + 1]).read_text()
    assert used == "numpy==2.4.6\ntorch==2.13.0+cpu\ntorchvision==0.28.0\n"
    new, old = (attempt(tmp_path, sources, Card("a card", driver)) for driver in (580, 535))
    assert not any("find-links" in word for word in new._arguments())
    assert any("whl/cu" in word for word in old._arguments())
    assert "+cpu" not in (tmp_path / "downloads" / "constraints.txt").read_text()
    assert not any("find-links" in word for word in attempt(tmp_path, sources, system="darwin")._arguments())
    assert attempt(tmp_path, sources).plan.needs().download_bytes < new.plan.needs().download_bytes


def test_a_folder_of_wheels_is_asked_alone(tmp_path):
    wheels = tmp_path / "wheels"
    make_wheel(wheels)
    words = attempt(tmp_path, Sources(wheels=wheels))._arguments()
    assert {"--isolated", "--no-index", f"--find-links={wheels}"} <= set(words)
    with pytest.raises(LocalError, match="no folder"):
        attempt(tmp_path, Sources(wheels=tmp_path / "none"))._arguments()


def test_wheels_for_one_python_ask_for_that_one(tmp_path):
    make_wheel(tmp_path)
    assert versions(Sources(wheels=tmp_path)) == ((3, 12), (3, 11))
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    assert versions(Sources(wheels=tmp_path)) == ((3, 11),)
    with pytest.raises(LocalError, match=r"Python 3\.11"):
        attempt(tmp_path, Sources(wheels=tmp_path))._python()


def test_a_checkout_is_used_where_the_module_runs_from_one(tmp_path):
    root = FILES[0].parents[2]
    found = Sources.beside(root)
    assert found.checkout == root / "server"
    assert found.constraints == root / "constraints.txt"
    words = attempt(tmp_path, found)._arguments()
    copy = Path(words[-1])
    assert (copy / "pyproject.toml").is_file()
    assert (copy / "nnactive_server" / "cli" / "__init__.py").is_file()
    assert tmp_path in copy.parents
    assert Sources.beside(tmp_path) == Sources()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_this_room_needs_the_standard_library_and_requests_alone(path):
    for name in imported(path):
        ours = name.startswith("NNActiveLogic.local")
        assert ours or name.split(".")[0] in {"requests", *sys.stdlib_module_names}, f"{path.name}: {name}"


def test_importing_this_room_loads_no_other():
    others = "{'qt', 'slicer', 'vtk', 'numpy', 'nnactive_server', 'NNActiveLogic.client'}"
    code = f"import NNActiveLogic.local; assert not {others} & set(sys.modules)"
    in_another_program(code)
