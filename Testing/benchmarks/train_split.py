"""Where a training step and a pool case spend their time: the real code's parts, timed as they are called."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn

from nnactive_server.segmentation.hardware import Hardware


class Split:
    """Seconds by part, of calls timed while they happen; a part inside another one is taken out of it."""

    def __init__(self, finish: Callable[[], None]) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._finish = finish
        self._open: list[float] = []

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **words: Any) -> Any:
            self._finish()
            start = time.perf_counter()
            self._open.append(0.0)
            try:
                return function(*args, **words)
            finally:
                self._finish()
                taken = time.perf_counter() - start
                inner = self._open.pop()
                self.seconds[part] += taken - inner
                if self._open:
                    self._open[-1] += taken

        return call

    @contextmanager
    def watching(self, parts: dict[str, list[tuple[Any, str]]]) -> Iterator[None]:
        """Time these functions (owner, name) inside the block."""
        with ExitStack() as stack:
            for part, places in parts.items():
                for owner, name in places:
                    timed = self.timed(part, getattr(owner, name))
                    stack.enter_context(mock.patch.object(owner, name, timed))
            yield


def finisher(hardware: Hardware) -> Callable[[], None]:
    """Waits until the device has done what it was given."""
    return torch.cuda.synchronize if hardware.device.type == "cuda" else lambda: None


def forward_flops(network: nn.Module, image: torch.Tensor) -> float:
    """Multiplications and additions of all convolutions for one batch."""
    counted = 0.0

    def count(module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        nonlocal counted
        weight = module.weight
        transposed = isinstance(module, nn.ConvTranspose3d)
        voxels = (given[0] if transposed else out).numel() / (given[0] if transposed else out).shape[1]
        counted += 2 * voxels * weight.numel()

    kinds = (nn.Conv3d, nn.ConvTranspose3d)
    # The network lists each module twice; a hook belongs to the module, so it counts once.
    hooks = [m.register_forward_hook(count) for m in set(network.modules()) if isinstance(m, kinds)]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    return counted


def peak_flops(hardware: Hardware) -> tuple[float, float]:
    """Operations a second of a large matrix product and of a convolution that suits it, best of six."""
    device, large = hardware.device, hardware.device.type == "cuda"
    n, width = (8192, 128) if large else (1024, 64)
    left = torch.randn(n, n, device=device)
    layer = hardware.place(nn.Conv3d(width, width, 3, padding=1))
    image = torch.randn(2, width, 32, 32, 32, device=device)
    if hardware.channels_last:
        image = image.contiguous(memory_format=torch.channels_last_3d)

    def rate(work: Callable[[], Any], flops: float) -> float:
        best = float("inf")
        with torch.inference_mode(), hardware.precision():
            for _ in range(6):
                finisher(hardware)()
                start = time.perf_counter()
                work()
                finisher(hardware)()
                best = min(best, time.perf_counter() - start)
        return flops / best

    return rate(lambda: left @ left, 2.0 * n**3), rate(lambda: layer(image), 2.0 * 2 * 32**3 * 27 * width**2)
