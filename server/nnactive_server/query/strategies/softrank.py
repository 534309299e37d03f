"""Softrank: noise on the rank in the pool instead of on the score (Kirsch et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nnactive_server.core.patch import Patch
from nnactive_server.core.rng import generator
from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.pool import Plan, best_first, take_best
from nnactive_server.query.strategies.ranked import RankedStrategy
from nnactive_server.query.values import PLAIN, CaseMaps, Proposal, Request


@dataclass(frozen=True)
class SoftrankStrategy(RankedStrategy):
    """Pool score `-log(rank) + Gumbel(0, 1 / beta)`, rank 1 = highest mean of `measure` in the pool.

    Each image offers twice what it may place, so that the noise has something to choose from.
    """

    alpha: float = field(default=0.0, init=False)
    schedule: str = field(default="none", init=False)

    def candidates(self, case: CaseMaps, request: Request, annotated: Sequence[Patch]) -> CaseCandidates:
        """Stage 1: the best of one image, without noise."""
        doubled = replace(request, query_size=2 * request.query_size, patches_per_image=2 * request.per_image)
        return super().candidates(case, doubled, annotated)

    def merge(self, cases: Iterable[CaseCandidates], request: Request) -> Proposal:
        """Stage 2: the best of the pool after noise on the ranks.

        Any rank can win, so all candidates are kept, unlike with the other strategies.
        """
        known = list(cases)
        pool = sorted(((c.case, entry) for c in known for entry in c.candidates), key=best_first)
        noise = generator(request.seed, request.step, "ranks").gumbel(scale=1 / self.beta, size=len(pool))
        scores = noise - np.log(np.arange(1, len(pool) + 1))
        offers: dict[str, list[Candidate]] = {entry.case: [] for entry in known}
        for (case, candidate), score in zip(pool, scores.tolist(), strict=True):
            offers[case].append(replace(candidate, score=score))
        rescored = [replace(entry, candidates=tuple(offers[entry.case])) for entry in known]
        quota = {PLAIN: request.query_size}
        return take_best(rescored, lambda _: Plan(quota, quota, request.per_image), request.query_size)
