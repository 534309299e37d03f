"""What Core-Set, k-means BALD and BADGE share: patches compared by their embeddings.

The vector of a patch is the mean of the network's features over its box, all members' side by side. Such
vectors need no place finer than the cells of the feature grid, so the places of an image lie
`max(stride, cell)` apart.

Stage 1 lets every image stand for itself by a few of its places, whatever the size of the pool. Where both
stages are farthest-first, this is a composable core-set: choosing from the union of what the parts
chose is worse by a constant factor only than choosing from everything (Indyk, Mahabadi, Mahdian & Mirrokni,
PODS 2014; for k-centre Malkomes et al., NeurIPS 2015). The bound holds without limits on overlap and on the
patches of one image; with them, as here, the rule is a heuristic.

Vectors are compared as they come. Members are trained by one recipe and their features come after
normalisation layers, so their scales are alike; dividing each dimension by its spread would let the noise of
one that hardly varies count as much as one that tells patches apart, and for gradients the length itself is
the message. The same distance in both stages is also what the core-set argument needs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nnactive_server.core.errors import QueryError
from nnactive_server.core.features import Embedding
from nnactive_server.core.patch import Patch, index3
from nnactive_server.core.places import Occupancy, Places, positive3
from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.explain import explain
from nnactive_server.query.pool import Entry, as_query, with_percentiles
from nnactive_server.query.spread import Spread
from nnactive_server.query.strategies.clusters import Picks
from nnactive_server.query.values import PLAIN, CaseMaps, Proposal, Request, Shortage


@dataclass(frozen=True)
class EmbeddedStrategy(ABC):
    """Base of the strategies that compare patches by their embeddings.

    Attributes:
        name: as on the command line.
        offers: each image offers up to `offers` times as many places as may be chosen of it.

    Raises:
        QueryError: a parameter out of range.
    """

    name: str
    offers: int = 2
    measures: tuple[str, ...] = field(default=(), init=False)
    embedding: Embedding | None = field(default=Embedding.BOTTLENECK, init=False)
    needs_labels: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._check_count("offers")

    def candidates(self, case: CaseMaps, request: Request, annotated: Sequence[Patch]) -> CaseCandidates:
        """Stage 1: places that stand for the image."""
        image = ImageSpace(case, request, annotated)
        count = self.offers * min(request.per_image, request.query_size)
        found = []
        for index, score in self._represent(image, count):
            patch = image.patch(index)
            why = explain(case, patch, annotated, score if self.measures else None)
            vector = tuple(image.vectors[index].tolist())
            found.append(Candidate(patch, score, PLAIN, why, vector=vector))
        anchors = tuple(tuple(anchor) for anchor in image.anchors.tolist())
        return CaseCandidates(
            case.case, self.name, request.step, (PLAIN,), tuple(found), image.spreads, anchors
        )

    def merge(self, cases: Iterable[CaseCandidates], request: Request) -> Proposal:
        """Stage 2: the query."""
        pool = PoolSpace(cases, request.per_image)
        picks = self._choose(pool, request) if pool.entries else []
        entries = with_percentiles([pool.entries[index] for index, _ in picks], pool.spreads)
        queries = [
            as_query(case, replace(candidate, score=score), rank)
            for rank, ((case, candidate), (_, score)) in enumerate(zip(entries, picks, strict=True), start=1)
        ]
        lacks = len(queries) < request.query_size
        shortage = [Shortage(PLAIN, request.query_size, len(queries))] if lacks else []
        return Proposal(queries, request.query_size, shortage)

    @abstractmethod
    def _represent(self, image: ImageSpace, count: int) -> Picks:
        """Up to `count` places of one image."""

    @abstractmethod
    def _choose(self, pool: PoolSpace, request: Request) -> Picks:
        """Up to `query_size` candidates of the pool, first to last."""

    def _check_count(self, parameter: str) -> None:
        value = getattr(self, parameter)
        if not isinstance(value, int) or value < 1:
            raise QueryError(f"{self.name}: {parameter} {value!r} needs a whole number of at least 1")


class ImageSpace:
    """The places of one image, ascending by start corner, with their vectors.

    Attributes:
        case: the image.
        places: where patches can lie.
        vectors: (places, D) float64.
        anchors: (annotated boxes, D) float64, their vectors.
        open: (places,) bool, which can still be taken.
        spreads: of the means of the map that ranks the places, for those who set it.
    """

    def __init__(self, case: CaseMaps, request: Request, annotated: Sequence[Patch]) -> None:
        if case.features is None:
            raise QueryError(f"case {case.case}: no features; compute them first")
        strides = positive3(request.stride, "stride")
        self.case, self.stride = case, index3([max(s, c) for s, c in zip(strides, request.cell, strict=True)])
        self.places = Places.fit(case.shape, request.patch_size, self.stride)
        means = case.features.grid_means(self.places.starts, self.places.size)
        self.vectors = _single(means.reshape(len(means), -1).T)
        self.anchors = _single(case.features.box_means(annotated))
        self.spreads: dict[str, Spread] = {}
        self._occupancy = Occupancy(self.places, annotated, request.overlap)
        self._free = self._occupancy.free()
        self.open = self._free.reshape(-1)  # a view: closing a box's neighbours closes their indices

    def patch(self, index: int) -> Patch:
        """The box of an index."""
        return self.places.patch(np.array(np.unravel_index(index, self.places.shape)))

    def take(self, index: int) -> None:
        """Take a place and close those it blocks, itself among them."""
        patch = self.patch(index)
        self._occupancy.take(patch)
        near, blocked = self._occupancy.blocked(patch)
        self._free[near] &= ~blocked


class PoolSpace:
    """All images' candidates, by case id, then start corner; so the order of the cases does not matter.

    Attributes:
        entries: case id and candidate, the latter without its vector.
        vectors: (candidates, D) float64.
        scores: (candidates,) float64, of stage 1.
        anchors: (annotated boxes of the pool, D) float64.
        open: (candidates,) bool, which can still be taken.
        spreads: of all images that have them.

    Raises:
        QueryError: embeddings that are missing, not finite, or of another length than in other cases.
    """

    def __init__(self, cases: Iterable[CaseCandidates], per_image: int) -> None:
        offers = sorted(map(_Offer, cases), key=lambda offer: offer.case)
        _check_lengths(offers)
        length = max((offer.length for offer in offers), default=0)
        blocks, anchors = [np.empty((0, length))], [np.empty((0, length))]
        self.entries: list[Entry] = []
        for offer in offers:
            self.entries.extend((offer.case, candidate) for candidate in offer.candidates)
            blocks.extend([offer.vectors] if len(offer.vectors) else [])
            anchors.extend([offer.anchors] if len(offer.anchors) else [])
        self.vectors, self.anchors = np.concatenate(blocks), np.concatenate(anchors)
        self.scores = np.array([candidate.score for _, candidate in self.entries])
        self.spreads = [offer.spread for offer in offers if offer.spread]
        self.open = np.ones(len(self.entries), dtype=bool)
        self._owners = np.repeat(np.arange(len(offers)), [len(offer.candidates) for offer in offers])
        self._used: Counter[int] = Counter()
        self._per_image = per_image

    def take(self, index: int) -> None:
        """Take a candidate; closes the others of its image when that is full."""
        owner = int(self._owners[index])
        self._used[owner] += 1
        self.open[index] = False
        if self._used[owner] == self._per_image:
            self.open[self._owners == owner] = False


class _Offer:
    """One image's candidates by start corner, their vectors as one array instead of many tuples."""

    def __init__(self, entry: CaseCandidates) -> None:
        ordered = sorted(entry.candidates, key=lambda candidate: candidate.patch)
        vectors = [*(candidate.vector for candidate in ordered), *entry.anchors]
        lengths = {len(vector) for vector in vectors}
        if 0 in lengths or len(lengths) > 1:
            raise QueryError(
                f"case {entry.case}: embeddings of {sorted(lengths)} numbers; make its candidates again"
            )
        values = np.array(vectors, dtype=np.float64)
        if not np.isfinite(values).all():
            raise QueryError(
                f"case {entry.case}: embeddings hold values that are not finite; make its candidates again"
            )
        self.case, self.length = entry.case, max(lengths, default=0)
        self.vectors, self.anchors = values[: len(ordered)], values[len(ordered) :]
        self.candidates = [replace(candidate, vector=()) for candidate in ordered]
        self.spread = entry.spreads.get(PLAIN)


def _check_lengths(offers: Sequence[_Offer]) -> None:
    known = [offer for offer in offers if offer.length]
    for offer in known[1:]:
        if offer.length != known[0].length:
            raise QueryError(
                f"case {offer.case} has embeddings of {offer.length} numbers, case {known[0].case} of "
                f"{known[0].length}; compute the features of all cases with the same members, "
                "then make the candidates again"
            )


def _single(vectors: np.ndarray) -> np.ndarray:
    """Rounded to single precision, C order.

    What a machine's linear algebra adds in another order differs in the last digits only, so that vectors
    and their ties are the same everywhere.
    """
    return np.ascontiguousarray(vectors.astype(np.float32).astype(np.float64))
