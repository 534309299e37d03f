"""The same promise as in test_simulate, kept by nnU-Net itself: kill -9 changes nothing but the time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nnactive_server.study.phantom import make_phantoms

KILL_WHEN = (
    "work/cases/*.image.npy",
    "cycle_000/members/checkpoint_0.pt",
    "cycle_000/members/member_0.pt",
    "cycle_000/candidates/*.json",
    "cycle_001/members/member_1.pt",
)


def command(source: Path, out: Path) -> list[str]:
    words = "simulate --strategy clasp-pe --cycles 2 --query-size 3 --patch 6 8 8 --seed 5 --profile smoke"
    return [sys.executable, "-m", "nnactive_server.cli", *words.split(), str(source), "--out", str(out)]


def start(source: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(source, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_when(process: subprocess.Popen[bytes], out: Path, pattern: str) -> bool:
    """SIGKILL as soon as a file appears; False when the process ended before."""
    while process.poll() is None:
        if any(out.glob(pattern)):
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return True
        time.sleep(0.002)
    process.communicate()
    return False


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantoms(tmp_path_factory.mktemp("truth") / "data", 5, 3, (16, 24, 24)).root


def finish(source: Path, out: Path) -> None:
    process = start(source, out)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


@pytest.mark.slow
def test_a_run_killed_at_every_stage_ends_with_the_same_patches_and_weights(source, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(source, whole)
    hits = [kill_when(start(source, killed), killed, pattern) for pattern in KILL_WHEN]
    finish(source, killed)
    assert all(hits)
    for name in ("loop_000.json", "loop_001.json", "cycle_000/queries.json", "cycle_001/evaluation.json"):
        assert (killed / name).read_text() == (whole / name).read_text(), name
    for path in sorted(whole.glob("cycle_*/members/member_*.pt")):
        weights = torch.load(path, weights_only=True)
        again = torch.load(killed / path.relative_to(whole), weights_only=True)
        assert all(torch.equal(weights[name], again[name]) for name in weights)
