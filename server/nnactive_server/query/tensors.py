"""Arrays that live on a GPU stay there: uncertainty and scores of torch tensors.

Imported only once a tensor arrives, so that a process without one never loads torch. Box sums go through the
same additions as numpy's, so the same map gives the same scores, bit for bit.
"""

from __future__ import annotations

import torch

from nnactive_server.core.errors import QueryError
from nnactive_server.core.places import Places
from nnactive_server.query.fold import Fold
from nnactive_server.query.windows import window_sums


class TensorFold(Fold):
    """Sums on the members' own device, float64 when the first member is, otherwise float32."""

    of_tensors = True

    @torch.no_grad()
    def _begin(self, member: torch.Tensor) -> None:
        dtype = torch.float64 if member.dtype == torch.float64 else torch.float32
        self._sum = torch.zeros(member.shape, dtype=dtype, device=member.device)
        self._entropy_sum = torch.zeros_like(self._sum[0])

    @torch.no_grad()
    def _accumulate(self, member: torch.Tensor) -> tuple[float, float, float]:
        sums = torch.zeros_like(self._sum[0])
        lowest = torch.full_like(sums, torch.inf)
        for total, channel in zip(self._sum, member, strict=True):
            values = channel.to(total)
            sums += values
            lowest = torch.minimum(lowest, values)
            probability = values.clamp_min(0)
            total += probability
            if self.needs_expected:
                self._entropy_sum += torch.special.entr(probability)
        return float(lowest.min()), float(sums.min()), float(sums.max())

    @torch.no_grad()
    def maps(self) -> dict[str, torch.Tensor]:
        """The measures over all members so far; ends the fold, because the sums are reused."""
        mean = self._sum.div_(self.count)
        total = torch.zeros_like(mean[0])
        for channel in mean:
            total += torch.special.entr(channel)
        total.clamp_min_(0)
        expected = self._entropy_sum.div_(self.count)
        makers = {
            "predictive_entropy": lambda: total,
            "expected_entropy": lambda: expected,
            "mutual_information": lambda: (total - expected).clamp_min_(0),
            "class_signal": lambda: mean[1:] * total,
            "mean_probability": lambda: mean,
            "prediction": lambda: mean.argmax(0).to(torch.uint8),
        }
        return {name: makers[name]() for name in self.measures}


@torch.no_grad()
def tensor_scores(values: torch.Tensor, places: Places) -> torch.Tensor:
    """Mean of a map (z, y, x) over the box at every place, float64 on the map's device."""
    if not bool(torch.isfinite(values).all()):
        raise QueryError("the map holds values that are not finite")
    sums = values.double()
    for axis, (size, starts) in enumerate(zip(places.size, places.starts, strict=True)):
        sums = window_sums(sums, axis, size)
        if len(starts) < sums.shape[axis]:
            sums = sums.index_select(axis, torch.from_numpy(starts).to(sums.device))
    return sums / (places.size[0] * places.size[1] * places.size[2])
