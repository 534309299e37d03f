"""Strategies that rank patches by the mean of an uncertainty map, if wished by class and with noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.core.rng import generator
from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.greedy import pick_best
from nnactive_server.query.pool import common_groups, take_best
from nnactive_server.query.schedules import SCHEDULES, inverse_temperature
from nnactive_server.query.scores import Places, patch_scores
from nnactive_server.query.values import PLAIN, CaseMaps, Proposal, Request, class_group

VOXEL_MEASURES = ("predictive_entropy", "expected_entropy", "mutual_information")
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Plan:
    """How many patches each group may place.

    Attributes:
        quotas: in the whole query, by group; together the query size.
        caps: in one image, by group.
        per_image: in one image, all groups together.
    """

    quotas: Mapping[str, int]
    caps: Mapping[str, int]
    per_image: int


@dataclass(frozen=True)
class RankedStrategy:
    """Greedy choice by mean uncertainty; with `alpha` stratified by class, with a schedule noisy.

    Scores are the mean of the group's map over the patch, or with noise
    `log(mean) + Gumbel(0, 1 / beta)`, whose ranking draws without replacement with probabilities
    proportional to `mean ** beta` (Gumbel top-k; Kool et al. 2019). The groups are the foreground
    classes with the map `pbar_c * PE`, sharing `floor(alpha q)` patches, and one plain group with
    `measure` for the others (ClaSP PE).

    Attributes:
        name: as on the command line.
        measure: voxel measure of the plain group.
        alpha: share of the query given to the classes; 0 for no stratification.
        schedule: of the noise, see `schedules.inverse_temperature`; `reference` also limits each
            group's share of an image as the published numbers were made.
        beta: inverse temperature of the noise at the first step.
        beta_max: highest inverse temperature.

    Raises:
        QueryError: a parameter out of range.
    """

    name: str
    measure: str = "predictive_entropy"
    alpha: float = 0.0
    schedule: str = "none"
    beta: float = 1.0
    beta_max: float = 100.0

    def __post_init__(self) -> None:
        if self.measure not in VOXEL_MEASURES:
            raise QueryError(f"{self.name}: measure {self.measure!r}; choose among {list(VOXEL_MEASURES)}")
        if self.schedule not in SCHEDULES:
            raise QueryError(f"{self.name}: schedule {self.schedule!r}; choose among {list(SCHEDULES)}")
        if not 0 <= self.alpha <= 1:
            raise QueryError(f"{self.name}: alpha {self.alpha} must lie between 0 and 1")
        if not 0 < self.beta <= self.beta_max < math.inf:
            raise QueryError(f"{self.name}: need 0 < beta <= beta_max, got {self.beta} and {self.beta_max}")

    @property
    def measures(self) -> tuple[str, ...]:
        """The voxel measures its groups rank by."""
        return (self.measure, "class_signal") if self.alpha else (self.measure,)

    @property
    def needs_labels(self) -> bool:
        """Never."""
        return False

    def plan(self, request: Request, groups: Sequence[str]) -> Plan:
        """Shares of the groups; those of classes that do not divide evenly are drawn by the seed."""
        wanted, quotas = request.per_image, self._quotas(request, groups)
        if self.schedule != "reference":
            return Plan(quotas, {g: min(n, wanted) for g, n in quotas.items()}, wanted)
        class_cap = max(1, _floor(wanted * self.alpha / len(groups)))
        caps = dict.fromkeys(groups, class_cap) | {PLAIN: max(1, _floor(wanted * (1 - self.alpha)))}
        return Plan(quotas, caps, max(wanted, sum(caps.values())))

    def candidates(self, case: CaseMaps, request: Request, annotated: Sequence[Patch]) -> CaseCandidates:
        """Stage 1: each group's best of one image, the groups in a seeded order sharing the space."""
        maps = self._group_maps(case)
        plan = self.plan(request, tuple(maps))
        walk = _Walk(self, case, maps, request, annotated)
        order = generator(request.seed, request.step, case.case, "order").permutation(len(maps))
        for group in (tuple(maps)[i] for i in order):
            walk.pick(group, plan.caps[group])
        # Only an image with room left can help out groups that fall short elsewhere.
        if len(walk.found) == sum(plan.caps.values()) < plan.per_image:
            walk.pick(PLAIN, plan.per_image - len(walk.found), spare=True)
        return CaseCandidates(case.case, self.name, request.step, tuple(maps), tuple(walk.found))

    def merge(self, cases: Sequence[CaseCandidates], request: Request) -> Proposal:
        """Stage 2: each group's best of the pool."""
        plan = self.plan(request, common_groups(cases))
        return take_best(cases, plan.quotas, request.query_size, plan.per_image)

    def scores(self, means: np.ndarray, case: str, group: str, request: Request) -> np.ndarray:
        """What a group ranks by, from the patch means (any shape)."""
        beta = inverse_temperature(self.schedule, request.step, request.total_steps, self.beta, self.beta_max)
        if beta is None:
            return means
        noise = generator(request.seed, request.step, case, group).gumbel(scale=1 / beta, size=means.shape)
        noise += np.log(np.maximum(means, _TINY))
        return noise

    def _group_maps(self, case: CaseMaps) -> dict[str, np.ndarray]:
        """The map of each group: classes in label order, then plain."""
        signal = case.maps["class_signal"] if self.alpha else ()
        by_class = {class_group(value): values for value, values in enumerate(signal, start=1)}
        return by_class | {PLAIN: case.maps[self.measure]}

    def _quotas(self, request: Request, groups: Sequence[str]) -> dict[str, int]:
        classes = [group for group in groups if group != PLAIN]
        stratified = _floor(self.alpha * request.query_size) if classes else 0
        even, rest = divmod(stratified, max(1, len(classes)))
        quotas = dict.fromkeys(classes, even) | {PLAIN: request.query_size - stratified}
        lucky = generator(request.seed, request.step, "quota").permutation(len(classes))[:rest]
        for index in lucky:
            quotas[classes[index]] += 1
        return quotas


class _Walk:
    """One image while its groups take their patches."""

    def __init__(
        self,
        strategy: RankedStrategy,
        case: CaseMaps,
        maps: Mapping[str, np.ndarray],
        request: Request,
        annotated: Sequence[Patch],
    ) -> None:
        self._strategy, self._case, self._maps, self._request = strategy, case, maps, request
        self._annotated = list(annotated)
        self._places = Places.fit(case.shape, request.patch_size, request.stride)
        self.found: list[Candidate] = []

    def pick(self, group: str, count: int, spare: bool = False) -> None:
        """Let a group accept up to `count` patches beside those already taken."""
        if not count:
            return
        means = patch_scores(self._maps[group], self._request.patch_size, self._request.stride)
        scores = self._strategy.scores(means, self._case.case, group, self._request)
        occupied = self._annotated + [candidate.patch for candidate in self.found]
        for patch, score in pick_best(scores, self._places, occupied, count):
            why = self._why(patch, self._maps[group])
            self.found.append(Candidate(patch, score, group, why, spare))

    def _why(self, patch: Patch, chosen_by: np.ndarray) -> dict[str, float]:
        at_hand = {name: self._case.maps[name] for name in VOXEL_MEASURES if name in self._case.maps}
        return {
            name: float(values[patch.slices].mean(dtype=np.float64))
            for name, values in {"mean": chosen_by, **at_hand}.items()
        }


def _floor(value: float) -> int:
    """Floor that forgives binary fractions: 0.29 * 100 is 29."""
    return math.floor(value + 1e-9)
