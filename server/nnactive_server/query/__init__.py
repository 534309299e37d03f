"""The query engine: arrays in, patches out.

Softmax arrays become voxel uncertainty (`uncertainty_maps`), voxels become patch scores
(`patch_scores`), and a strategy chooses the patches to annotate next: `propose`, or its two stages
`case_candidates` (one image, whose maps can then be dropped) and `merge_candidates` (the pool).

Arrays are (z, y, x), entropies in nats. Knows neither nnU-Net nor any store; imports numpy, scipy and
the core. Results depend on the seed, never on the order of cases or the number of workers.
"""

from nnactive_server.core.places import start_positions
from nnactive_server.query.candidates import Candidate, CaseCandidates
from nnactive_server.query.explanation import Explanation
from nnactive_server.query.propose import case_candidates, merge_candidates, propose
from nnactive_server.query.schedules import SCHEDULES, inverse_temperature
from nnactive_server.query.scores import patch_scores
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
    group_class,
    streamed,
)
from nnactive_server.query.words import describe

__all__ = [
    "MEASURES",
    "PLAIN",
    "SCHEDULES",
    "Candidate",
    "CaseCandidates",
    "CaseMaps",
    "Explanation",
    "Proposal",
    "Query",
    "Request",
    "Shortage",
    "Strategy",
    "case_candidates",
    "class_group",
    "describe",
    "get_strategy",
    "group_class",
    "inverse_temperature",
    "merge_candidates",
    "patch_scores",
    "propose",
    "start_positions",
    "strategy_names",
    "streamed",
    "uncertainty_maps",
]
