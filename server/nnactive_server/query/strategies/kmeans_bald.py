"""k-means BALD: informative patches, one of each kind (Zhdanov 2019)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nnactive_server.core.features import Embedding
from nnactive_server.core.rng import generator
from nnactive_server.query.scores import patch_scores
from nnactive_server.query.spread import Spread
from nnactive_server.query.strategies.clusters import Picks, in_order, squared, weighted_kmeans
from nnactive_server.query.strategies.embedded import EmbeddedStrategy, ImageSpace, PoolSpace
from nnactive_server.query.values import PLAIN, Request

_MEASURE = "mutual_information"


@dataclass(frozen=True)
class KMeansBald(EmbeddedStrategy):
    """Weighted k-means among the patches of highest mean mutual information.

    Of the pool, the `prefilter * query_size` candidates x of highest mean MI are clustered into
    k = `query_size` clusters S_1..S_k with centres mu by their embeddings f, minimising

        sum_j sum over x in S_j of MI(x) |f(x) - mu_j|^2

    and each cluster, the heaviest (sum of MI) first, gives its patch nearest to its centre ("Diverse
    mini-batch active learning", Zhdanov 2019, arXiv:1901.05954, with MI as the informativeness). Where
    fewer than `query_size` come of this, because vectors are equal or images full, the free candidates of
    highest MI follow. The score is the mean MI; ranks go by cluster. Per image, the places of highest MI.

    Attributes:
        name: as on the command line.
        offers: each image offers up to `offers` times as many places as may be chosen of it.
        prefilter: candidates that are clustered, as a multiple of the query size; 1 is BALD in another
            order, more gives way to diversity. The paper uses 10 and 50.

    Raises:
        QueryError: a parameter out of range.
    """

    name: str = "kmeans-bald"
    offers: int = 2
    prefilter: int = 10
    measures: tuple[str, ...] = field(default=(_MEASURE,), init=False)
    embedding: Embedding | None = field(default=Embedding.BOTTLENECK, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_count("prefilter")

    def _represent(self, image: ImageSpace, count: int) -> Picks:
        means = patch_scores(image.case.maps[_MEASURE], image.places.size, image.stride)
        image.spreads[PLAIN] = Spread.of(means)
        return in_order(image, _best_first(means.ravel()), means.ravel(), count)

    def _choose(self, pool: PoolSpace, request: Request) -> Picks:
        order = _best_first(pool.scores)
        # Ascending again, so that equal distances go by case and start corner.
        kept = np.sort(order[: self.prefilter * request.query_size])
        picks: Picks = []
        for cluster in self._clusters(pool, kept, request):
            picks += in_order(pool, cluster, pool.scores, 1)
        return picks + in_order(pool, order, pool.scores, request.query_size - len(picks))

    def _clusters(self, pool: PoolSpace, kept: np.ndarray, request: Request) -> list[np.ndarray]:
        """Candidates of each cluster, nearest to its centre first; the heaviest cluster first."""
        rng = generator(request.seed, request.step, self.name)
        vectors, weights = pool.vectors[kept], pool.scores[kept]
        weights = weights if weights.any() else np.ones(len(kept))
        labels, centres = weighted_kmeans(vectors, weights, request.query_size, rng)
        totals = np.bincount(labels, weights, minlength=len(centres))
        members = [np.flatnonzero(labels == cluster) for cluster in _best_first(totals)]
        return [
            kept[mine[np.argsort(squared(vectors[mine], centres[labels[mine[0]]]), kind="stable")]]
            for mine in members
            if len(mine)
        ]


def _best_first(scores: np.ndarray) -> np.ndarray:
    """Indices by descending score; equal scores in their order."""
    return np.argsort(-scores, kind="stable")
