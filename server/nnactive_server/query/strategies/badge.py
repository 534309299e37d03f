"""BADGE: batches of large and different gradients (Ash et al., ICLR 2020)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nnactive_server.core.features import Embedding
from nnactive_server.core.rng import generator
from nnactive_server.query.strategies.clusters import Cover, Picks, draw, farthest_first, grow
from nnactive_server.query.strategies.embedded import EmbeddedStrategy, ImageSpace, PoolSpace
from nnactive_server.query.values import Request


@dataclass(frozen=True)
class Badge(EmbeddedStrategy):
    """k-means++ seeding on the gradients of the last layer, pooled over the patch.

    The gradient is that of the cross-entropy with the predicted class as label,
    `(p - onehot(argmax p)) h^T` for each voxel: long where the network is uncertain, and different where
    another correction of the last layer would be needed. Its mean over a box is the gradient of the box's
    mean loss. The first patch is the one with the longest gradient; each further one is drawn with

        P(x) proportional to D(x)^2,  D(x) = distance to the nearest patch drawn so far

    (Arthur & Vassilvitskii 2007; Ash et al. 2020). When all D are 0, every free patch is as likely. The score
    is D when drawn, of the first its gradient's length. Per image, farthest-first from the origin, which
    begins with its longest gradient and needs no random numbers.

    Attributes:
        name: as on the command line.
        offers: each image offers up to `offers` times as many places as may be chosen of it.
    """

    name: str = "badge"
    embedding: Embedding | None = field(default=Embedding.GRADIENT, init=False)

    def _represent(self, image: ImageSpace, count: int) -> Picks:
        return farthest_first(image, _origin(image.vectors), count)

    def _choose(self, pool: PoolSpace, request: Request) -> Picks:
        rng = generator(request.seed, request.step, self.name)

        def by_squared_distance(gain: np.ndarray) -> int:
            some = gain.max() > 0
            return draw(rng, gain if some else np.isfinite(gain).astype(np.float64))

        first = farthest_first(pool, _origin(pool.vectors), 1)
        centres = pool.vectors[[index for index, _ in first]]
        cover = Cover(pool.vectors, centres)
        return first + grow(pool, cover, request.query_size - 1, by_squared_distance)


def _origin(vectors: np.ndarray) -> np.ndarray:
    return np.zeros((1, vectors.shape[1]))
