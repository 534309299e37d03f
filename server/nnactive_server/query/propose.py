"""The two stages of a query, apart for a pool that is streamed case by case, and in one go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.core.places import positive3
from nnactive_server.query.candidates import CaseCandidates
from nnactive_server.query.strategies import Strategy, get_strategy
from nnactive_server.query.values import CaseMaps, Proposal, Request

Maps = Mapping[str, np.ndarray]


def case_candidates(
    case: CaseMaps, strategy: str | Strategy, request: Request, annotated: Sequence[Patch] = ()
) -> CaseCandidates:
    """Stage 1: what one image offers; its maps can be dropped afterwards.

    Args:
        case: the image's maps, of which the strategy's `measures` are needed, and labels if it
            `needs_labels`.
        strategy: name or object.
        request: the same for all cases of a step.
        annotated: boxes of this image that are annotated already; nothing proposed overlaps them by more
            than the request allows.

    Raises:
        QueryError: a map or the labels are missing, a map holds values that are not finite or below
            zero, or a box lies outside the image; the message names the case.
    """
    strategy = get_strategy(strategy) if isinstance(strategy, str) else strategy
    missing = case.lacks(strategy.measures)
    if missing:
        raise QueryError(f"case {case.case}: {strategy.name} needs the maps {missing}; compute them first")
    if strategy.needs_labels and case.labels is None:
        raise QueryError(f"case {case.case}: {strategy.name} needs a label map; give truth or prediction")
    if strategy.embedding and case.features is None:
        raise QueryError(
            f"case {case.case}: {strategy.name} needs {strategy.embedding} features; compute them first"
        )
    for name in case.maps:  # those only explained too: their values reach files and people
        lowest, highest = float(case.maps[name].min()), float(case.maps[name].max())
        if not (lowest >= 0 and highest < np.inf):
            raise QueryError(
                f"case {case.case}: map {name} ranges from {lowest} to {highest}; "
                "it must be finite and not negative"
            )
    for box in annotated:
        if not box.inside(case.shape):
            raise QueryError(
                f"case {case.case}: annotated box at {box.start} of size {box.size} "
                f"reaches outside the image of {case.shape}"
            )
    return strategy.candidates(case, request, annotated)


def merge_candidates(cases: Iterable[CaseCandidates], strategy: str | Strategy, request: Request) -> Proposal:
    """Stage 2: the query, from the candidates of every image, read once; their order does not matter.

    Raises:
        QueryError: no cases, a case twice, or candidates of another strategy or step.
    """
    strategy = get_strategy(strategy) if isinstance(strategy, str) else strategy
    return strategy.merge(_checked(cases, strategy, request), request)


def _checked(
    cases: Iterable[CaseCandidates], strategy: Strategy, request: Request
) -> Iterator[CaseCandidates]:
    """The cases one by one, so that a large pool need not be in memory at once."""
    seen: set[str] = set()
    for entry in cases:
        if entry.case in seen:
            raise QueryError(f"case {entry.case} is in the pool twice")
        if (entry.strategy, entry.step) != (strategy.name, request.step):
            raise QueryError(
                f"case {entry.case}: candidates are of {entry.strategy} at step {entry.step}, not of "
                f"{strategy.name} at step {request.step}; make them again"
            )
        seen.add(entry.case)
        yield entry
    if not seen:
        raise QueryError("the pool is empty; give the candidates of at least one case")


def propose(
    scores_by_case: Iterable[CaseMaps] | Mapping[str, CaseMaps | Maps],
    strategy: str | Strategy,
    query_size: int,
    step: int,
    total_steps: int,
    annotated: Mapping[str, Sequence[Patch]],
    seed: int,
    *,
    patch_size: Sequence[int],
    patches_per_image: int | None = None,
    stride: int | Sequence[int] = 1,
    overlap: float = 0.0,
) -> Proposal:
    """The patches to annotate next, best first; both stages in one call.

    Args:
        scores_by_case: the pool; a generator keeps one image in memory at a time. A mapping may hold
            plain dictionaries of maps by measure instead of `CaseMaps`.
        strategy: name or object, see `strategy_names`.
        query_size: how many patches.
        step: index of this query, from 0.
        total_steps: number of planned queries (one less than trainings).
        annotated: boxes annotated already, by case.
        seed: of everything random here.
        patch_size: voxels (z, y, x); clipped to smaller images.
        patches_per_image: most patches of one image; `query_size` unless given.
        stride: step between candidates in voxels.
        overlap: largest share of a patch that annotated boxes and patches accepted before it may hold.

    Raises:
        QueryError: as `case_candidates` and `merge_candidates`, or a value out of range. Too few free
            places are no error: see `Proposal.shortages`.
    """
    strategy = get_strategy(strategy) if isinstance(strategy, str) else strategy
    request = Request(
        query_size,
        positive3(patch_size, "patch size"),
        step,
        total_steps,
        seed,
        patches_per_image,
        positive3(stride, "stride"),
        overlap,
    )
    offers = (
        case_candidates(case, strategy, request, annotated.get(case.case, ()))
        for case in _cases(scores_by_case)
    )
    return merge_candidates(offers, strategy, request)


def _cases(pool: Iterable[CaseMaps] | Mapping[str, CaseMaps | Maps]) -> Iterable[CaseMaps]:
    if not isinstance(pool, Mapping):
        yield from pool
        return
    for name, entry in pool.items():
        case = entry if isinstance(entry, CaseMaps) else CaseMaps.from_maps(name, entry)
        if case.case != name:
            raise QueryError(f"case {case.case} is called {name} in the pool; give it one id")
        yield case
