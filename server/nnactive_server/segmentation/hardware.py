"""Which device and number format training and prediction use; chosen by itself, reported by `doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from nnactive_server.core.cores import available_cores
from nnactive_server.core.errors import SegmentationError

PREDICTION_BYTES = 4 * 2**30
"""The same on every machine, so that a case takes the same path on all of them. Together with what a process
with torch needs anyway, 6 GB are enough for any case; larger slabs gain nothing."""

MEMBERS_PER_GPU = "NNACTIVE_MEMBERS_PER_GPU"
"""Environment: members that share a GPU while they are trained; 1 when it is not set."""
SPARING_PART = 8
"""With so much less memory prediction is tried again when it did not suffice."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine as training and prediction see it.

    Attributes:
        device: where tensors live.
        autocast: number format of convolutions and matrix products; None for float32 throughout.
        channels_last: memory layout of 3D tensors; for CUDA, it gains nothing on CPUs (measured).
        threads: CPU threads torch may use.
        name: the processor, for people.
        prediction_bytes: main memory that the arrays of one case may take while it is predicted; a case whose
            whole arrays would take more is predicted in slabs, see `slabs.py`.
        resident: training cases lie on the device and are augmented there, and the host does not wait for
            it after each step; for CUDA.
        frugal: tiles are predicted one after the other.
    """

    device: torch.device
    autocast: torch.dtype | None
    channels_last: bool
    threads: int
    name: str
    prediction_bytes: int = PREDICTION_BYTES
    resident: bool = False
    frugal: bool = False

    def sparing(self) -> Hardware:
        """The same machine, used with as little memory as prediction can do with, at the cost of time."""
        return replace(self, prediction_bytes=self.prediction_bytes // SPARING_PART, frugal=True)

    def apart(self, members: int) -> tuple[Hardware, ...]:
        """This machine shared among processes that each train one of so many members; () for one process.

        On CUDA one process for each device, or `MEMBERS_PER_GPU`; on a CPU one for each core.
        """
        if self.device.type == "cuda":
            devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
            chosen = [device for _ in range(_members_per_gpu()) for device in devices][:members]
        else:
            chosen = [self.device] * min(members, self.threads)
        threads = max(1, self.threads // max(1, len(chosen)))
        shared = tuple(replace(self, device=device, threads=threads) for device in chosen)
        return shared if len(shared) > 1 else ()

    def arranged(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, C, z, y, x) in the memory layout that is fast on the device."""
        return images.contiguous(memory_format=torch.channels_last_3d) if self.channels_last else images

    def precision(self) -> AbstractContextManager[object]:
        """The context in which a network is called."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast)

    def place(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network on the device, in the memory layout that is fast there."""
        network = network.to(self.device)
        if self.channels_last:
            # torch's own type hints know only the 2D layouts here
            network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return network

    def to_json(self) -> dict[str, Any]:
        """Plain values, for another process on this machine."""
        number_format = None if self.autocast is None else str(self.autocast).removeprefix("torch.")
        return asdict(self) | {"device": str(self.device), "autocast": number_format}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Hardware:
        """What `to_json` gave."""
        known = document["autocast"]
        autocast = None if known is None else getattr(torch, known)
        return cls(**dict(document) | {"device": torch.device(document["device"]), "autocast": autocast})

    def describe(self) -> dict[str, str | int]:
        """Plain values for reports."""
        return {
            "device": self.device.type,
            "name": self.name,
            "precision": "float32" if self.autocast is None else str(self.autocast).removeprefix("torch."),
            "threads": self.threads,
        }


def detect() -> Hardware:
    """The best this machine offers: CUDA when there, bf16 where the processor computes in it.

    A CPU without bf16 instructions emulates them about a hundred times slower (measured on AVX2), so
    it stays with float32.
    """
    threads = available_cores()
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return Hardware(
            torch.device("cuda", 0), dtype, True, threads, torch.cuda.get_device_name(0), resident=True
        )
    features = torch.cpu.get_capabilities()
    native_bf16 = bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    name = str(features.get("cpu_name") or features.get("architecture") or "CPU")
    return Hardware(torch.device("cpu"), torch.bfloat16 if native_bf16 else None, False, threads, name)


def _members_per_gpu() -> int:
    count = os.environ.get(MEMBERS_PER_GPU, "1")
    if not count.isdigit() or int(count) < 1:
        raise SegmentationError(f"{MEMBERS_PER_GPU}={count}: give a whole number from 1 on")
    return int(count)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
