"""Cases predicted together: a GPU computes a hundred tiles in hardly more time than the few of a small case.

Cases are still asked for one after the other. When one is asked for, the same pass of those that will follow
is computed in the same batches and kept until its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from nnactive_server.segmentation.prediction.inference import Pass

KEPT_BYTES = 2**30
"""Logits of coming cases that may wait on the device."""
CASES = 64
"""Most cases computed together: their tiles fill any GPU, and each keeps a file open."""

Logits = Callable[[], torch.Tensor]
"""Computes the logits (C, z, y, x) of a pass, or has them already."""


class Ahead:
    """Passes of cases, computed for several cases at once.

    Values differ by rounding from those of cases predicted alone.

    Args:
        passes: of a case.
        size: bytes of one pass's logits; None for a case that has to be predicted alone.
        cases: in the order in which they will be asked for.
    """

    def __init__(
        self,
        passes: Callable[[str], Sequence[Pass]],
        size: Callable[[str], int | None],
        cases: Sequence[str],
    ) -> None:
        self._passes, self._size, self._cases = passes, size, list(cases)
        self._waiting: dict[str, _Group] = {}

    def of(self, case: str) -> list[Logits]:
        """The passes of a case; of one that nobody expected, too."""
        if case not in self._waiting:
            group = _Group(dict(self._together(case)))
            # What nobody asked for after all is dropped here.
            self._waiting = dict.fromkeys(group.passes, group)
        return self._waiting.pop(case).of(case)

    def _together(self, case: str) -> Iterator[tuple[str, Sequence[Pass]]]:
        """The passes of the case, and of those after it whose logits may wait."""
        passes = self._passes(case)
        yield case, passes
        if self._size(case) is None or not all(each.sees_only_voxels for each in passes):
            return
        left = KEPT_BYTES
        for other in self._after(case):
            size = self._size(other)
            if size is None or size * len(passes) > left:
                return
            left -= size * len(passes)
            yield other, self._passes(other)

    def _after(self, case: str) -> list[str]:
        if case not in self._cases:
            return []
        place = self._cases.index(case)
        return self._cases[place + 1 : place + CASES]


class _Group:
    """Cases whose passes are computed together.

    Attributes:
        passes: of each case.
    """

    def __init__(self, passes: dict[str, Sequence[Pass]]) -> None:
        self.passes = passes
        self._kept: dict[tuple[str, int], torch.Tensor] = {}

    def of(self, case: str) -> list[Logits]:
        """The passes of one of them."""
        return [partial(self._logits, case, number) for number in range(len(self.passes[case]))]

    def _logits(self, case: str, number: int) -> torch.Tensor:
        if (case, number) not in self._kept:
            first, *others = [passes[number] for passes in self.passes.values()]
            for each, logits in zip(self.passes, first.together(others), strict=True):
                self._kept[each, number] = logits
        return self._kept.pop((case, number))
