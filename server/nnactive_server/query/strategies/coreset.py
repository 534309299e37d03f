"""Core-Set: cover the pool with the annotated patches and the query (Sener & Savarese, ICLR 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field

from nnactive_server.core.features import Embedding
from nnactive_server.query.strategies.clusters import Picks, farthest_first
from nnactive_server.query.strategies.embedded import EmbeddedStrategy, ImageSpace, PoolSpace
from nnactive_server.query.values import Request


@dataclass(frozen=True)
class CoreSet(EmbeddedStrategy):
    """k-centre greedy on the features of the network's lowest resolution, pooled over the patch.

    Looks for the set S of `query_size` patches that minimises

        max over patches x of the pool, min over x' in L and S, |f(x) - f(x')|

    with L the annotated boxes of all images (Sener & Savarese 2018), by taking again and again the patch
    farthest from L and S, which is at most twice the best. The score is this distance; without anything
    annotated the first is the patch nearest to the mean and has score 0. Per image, the same from its own
    annotated boxes.

    Attributes:
        name: as on the command line.
        offers: each image offers up to `offers` times as many places as may be chosen of it.
    """

    name: str = "coreset"
    embedding: Embedding | None = field(default=Embedding.BOTTLENECK, init=False)

    def _represent(self, image: ImageSpace, count: int) -> Picks:
        return farthest_first(image, image.anchors, count)

    def _choose(self, pool: PoolSpace, request: Request) -> Picks:
        return farthest_first(pool, pool.anchors, request.query_size)
