"""Strategies that rank patches by the mean of an uncertainty map, if wished by class and with noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.features import Embedding
from nnactive_server.core.patch import Patch
from nnactive_server.core.places import Occupancy
from nnactive_server.core.rng import generator
from nnactive_server.query.aggregation import Aggregation
from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.explain import explain
from nnactive_server.query.greedy import pick_best
from nnactive_server.query.pool import Plan, take_best
from nnactive_server.query.schedules import SCHEDULES, inverse_temperature
from nnactive_server.query.spread import Spread
from nnactive_server.query.uncertainty import VOXEL_MEASURES
from nnactive_server.query.values import PLAIN, CaseMaps, Proposal, Request, class_group, group_class

_TINY = float(np.finfo(np.float64).tiny)


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
        aggregation: how a box's values become its score, see `aggregation.Aggregation`; where this page says
            mean, it stands for that.
        fraction: of a box's voxels that count with the aggregation `top-fraction`.
        threshold: nats above which a voxel counts with the aggregation `threshold`.

    Raises:
        QueryError: a parameter out of range.
    """

    name: str
    measure: str = "predictive_entropy"
    alpha: float = 0.0
    schedule: str = "none"
    beta: float = 1.0
    beta_max: float = 100.0
    aggregation: str = "mean"
    fraction: float = 0.1
    threshold: float = 0.2

    def __post_init__(self) -> None:
        if self.measure not in VOXEL_MEASURES:
            raise QueryError(f"{self.name}: measure {self.measure!r}; choose among {list(VOXEL_MEASURES)}")
        if self.schedule not in SCHEDULES:
            raise QueryError(f"{self.name}: schedule {self.schedule!r}; choose among {list(SCHEDULES)}")
        if not 0 <= self.alpha <= 1:
            raise QueryError(f"{self.name}: alpha {self.alpha} must lie between 0 and 1")
        if not 0 < self.beta <= self.beta_max < math.inf:
            raise QueryError(f"{self.name}: need 0 < beta <= beta_max, got {self.beta} and {self.beta_max}")
        self.aggregator()

    def aggregator(self) -> Aggregation:
        """How a box's values become its score."""
        return Aggregation(self.aggregation, self.fraction, self.threshold)

    @property
    def measures(self) -> tuple[str, ...]:
        """The voxel measures its groups rank by."""
        return (self.measure, "class_signal") if self.alpha else (self.measure,)

    @property
    def needs_labels(self) -> bool:
        """Never."""
        return False

    @property
    def embedding(self) -> Embedding | None:
        """None."""
        return None

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
        groups = self._groups(case)
        plan = self.plan(request, groups)
        walk = _Walk(self, case, request, annotated)
        order = generator(request.seed, request.step, case.case, "order").permutation(len(groups))
        for group in (groups[i] for i in order):
            walk.pick(group, plan.caps[group])
        # Only an image with room left can help out groups that fall short elsewhere.
        if len(walk.found) == sum(plan.caps.values()) < plan.per_image:
            walk.pick(PLAIN, plan.per_image - len(walk.found), spare=True)
        return CaseCandidates(
            case.case, self.name, request.step, groups, tuple(walk.found), spreads=walk.spreads
        )

    def merge(self, cases: Iterable[CaseCandidates], request: Request) -> Proposal:
        """Stage 2: each group's best of the pool."""
        return take_best(cases, lambda groups: self.plan(request, groups), request.query_size)

    def scores(self, means: np.ndarray, case: str, group: str, request: Request) -> np.ndarray:
        """What a group ranks by, from the patch means (any shape)."""
        beta = inverse_temperature(self.schedule, request.step, request.total_steps, self.beta, self.beta_max)
        if beta is None:
            return means
        noise = generator(request.seed, request.step, case, group).gumbel(scale=1 / beta, size=means.shape)
        noise += np.log(np.maximum(means, _TINY))
        return noise

    def map_of(self, group: str, case: CaseMaps) -> np.ndarray:
        """The map (z, y, x) a group ranks by."""
        return case.maps[self.measure] if group == PLAIN else case.class_signal(group_class(group))

    def _groups(self, case: CaseMaps) -> tuple[str, ...]:
        """Classes in label order, then plain."""
        classes = case.classes if self.alpha else 0
        return (*map(class_group, range(1, classes + 1)), PLAIN)

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
        self, strategy: RankedStrategy, case: CaseMaps, request: Request, annotated: Sequence[Patch]
    ) -> None:
        self._strategy, self._case, self._request, self._annotated = strategy, case, request, annotated
        self._occupancy: Occupancy | None = None
        self.found: list[Candidate] = []
        self.spreads: dict[str, Spread] = {}

    def pick(self, group: str, count: int, spare: bool = False) -> None:
        """Let a group accept up to `count` patches beside those already taken."""
        if not count:
            return
        request, values = self._request, self._strategy.map_of(group, self._case)
        places, means = self._strategy.aggregator().scores(values, request.patch_size, request.stride)
        if self._occupancy is None:
            self._occupancy = Occupancy(places, self._annotated, request.overlap)
        self.spreads[group] = Spread.of(means)
        scores = self._strategy.scores(means, self._case.case, group, request)
        for patch, score in pick_best(scores, self._occupancy, count):
            value = float(means[places.position(patch)])
            why = explain(self._case, patch, self._annotated, value)
            self.found.append(Candidate(patch, score, group, why, spare))


def _floor(value: float) -> int:
    """Floor that forgives binary fractions: 0.29 * 100 is 29."""
    return math.floor(value + 1e-9)
