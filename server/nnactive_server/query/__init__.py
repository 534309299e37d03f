"""The query engine: arrays in, patches out.

Softmax arrays become voxel uncertainty (`uncertainty_maps`), voxels become patch scores
(`patch_scores`), and a strategy chooses the patches to annotate next: `propose`, or its two stages
`case_candidates` (one image, whose maps can then be dropped) and `merge_candidates` (the pool).

Arrays are (z, y, x), entropies in nats. Knows neither nnU-Net nor any store; imports numpy, scipy and
the core. Results depend on the seed, never on the order of cases or the number of workers.
"""

from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.propose import case_candidates, merge_candidates, propose
from nnactive_server.query.schedules import SCHEDULES, inverse_temperature
from nnactive_server.query.scores import patch_scores, start_positions
from nnactive_server.query.strategies import Strategy, get_strategy, strategy_names
from nnactive_server.query.uncertainty import MEASURES, uncertainty_maps
from nnactive_server.query.values import (
    PLAIN,
    CaseMaps,
    Proposal,
    Query,
    Request,
    Shortage,
    class_group,
)

__all__ = [
    "MEASURES",
    "PLAIN",
    "SCHEDULES",
    "Candidate",
    "CaseCandidates",
    "CaseMaps",
    "Proposal",
    "Query",
    "Request",
    "Shortage",
    "Strategy",
    "case_candidates",
    "class_group",
    "get_strategy",
    "inverse_temperature",
    "merge_candidates",
    "patch_scores",
    "propose",
    "start_positions",
    "strategy_names",
    "uncertainty_maps",
]
