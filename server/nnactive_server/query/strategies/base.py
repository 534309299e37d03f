"""What a strategy is: it says what it needs, turns one image into candidates, and the pool into a query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from nnactive_server.core.features import Embedding
from nnactive_server.core.patch import Patch
from nnactive_server.query.candidates import CaseCandidates
from nnactive_server.query.values import CaseMaps, Proposal, Request


class Strategy(Protocol):
    """A way to choose patches.

    An implementation is a frozen dataclass whose fields besides `name` are its parameters; one entry in
    `registry.py` makes it known. Its inputs are checked by `case_candidates` and `merge_candidates`.
    """

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Voxel measures it needs of every image; empty when no model output is needed."""

    @property
    def needs_labels(self) -> bool:
        """Whether it needs a label map of every image."""

    @property
    def embedding(self) -> Embedding | None:
        """Features it needs of every image; None for none."""

    def candidates(self, case: CaseMaps, request: Request, annotated: Sequence[Patch]) -> CaseCandidates:
        """Stage 1: patches of one image that overlap neither `annotated` nor each other."""

    def merge(self, cases: Iterable[CaseCandidates], request: Request) -> Proposal:
        """Stage 2: the query, from all images' candidates, read once and in any order."""
