from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.jobs import slots
from nnactive_server.jobs.slots import Gpu, detect_slots, devices, parse_gpus, query_gpus

TWO = "0, NVIDIA A100-SXM4-40GB, 40960, 1234, 17\n1, NVIDIA H100 NVL, 95830, 0, [N/A]\n"
Install = Callable[[str], None]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a program of this name first on the path."""
    monkeypatch.setattr(slots, "_cache", slots._Cache())
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(text: str, code: int = 0) -> None:
        (tmp_path / "reply").write_text(text)
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat {tmp_path / 'reply'}\nexit {code}\n")
        program.chmod(0o700)

    return install


def visible() -> list[str | None]:
    return [slot.environment.get("CUDA_VISIBLE_DEVICES") for slot in detect_slots()]


def test_lines_of_nvidia_smi_are_read() -> None:
    assert parse_gpus(TWO) == (
        Gpu("0", "NVIDIA A100-SXM4-40GB", 40960, 1234, 17),
        Gpu("1", "NVIDIA H100 NVL", 95830, 0, None),
    )


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse_gpus(text)


def test_each_gpu_is_a_slot(nvidia_smi: Install) -> None:
    nvidia_smi(TWO)
    assert visible() == ["0", "1"]
    assert all(slot.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID" for slot in detect_slots())
    assert len({slot.name for slot in detect_slots()}) == 2


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("1", ["1"]),
        ("1,0", ["1", "0"]),
        ("0,7,1", ["0"]),
        ("0,-1,1", ["0"]),
        ("GPU-8932f937,MIG-1/2", ["GPU-8932f937", "MIG-1/2"]),
        ("0, 0", ["0"]),
    ],
)
def test_only_visible_gpus_are_slots(
    nvidia_smi: Install, monkeypatch: pytest.MonkeyPatch, chosen: str, expected: list[str]
) -> None:
    nvidia_smi(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible() == expected


@pytest.mark.parametrize("chosen", ["", "-1"])
def test_hidden_gpus_are_none(nvidia_smi: Install, monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    nvidia_smi(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [slot.name for slot in detect_slots()] == ["cpu"]
    assert [device["kind"] for device in devices()] == ["cpu"]


def test_without_nvidia_smi_there_are_no_gpus() -> None:
    assert query_gpus(("/no/such/nvidia-smi",)) == ()
    assert query_gpus(("/dev/null",)) == ()


def test_an_nvidia_smi_that_fails_leaves_one_slot(nvidia_smi: Install) -> None:
    nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9)
    assert [slot.name for slot in detect_slots()] == ["cpu"]


def test_devices_are_plain_values_and_asked_for_once_in_a_while(nvidia_smi: Install) -> None:
    nvidia_smi(TWO)
    found = devices()
    assert json.loads(json.dumps(found)) == found
    assert (found[0]["memory_total_bytes"], found[0]["utilization_percent"]) == (40960 * 2**20, 17)
    assert found[1]["utilization_percent"] is None
    nvidia_smi("")
    found[0]["name"] = "mine"
    assert devices()[0]["name"] == "NVIDIA A100-SXM4-40GB"


def test_devices_leave_out_what_is_not_visible(nvidia_smi: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [device["index"] for device in devices()] == [1]
