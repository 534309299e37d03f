"""One active-learning cycle on a project folder: labels, training, prediction of the pool, query.

Every step leaves a file, so work that was stopped anywhere goes on where it was. Knows nothing of
hidden truth: whoever answers the queries writes label maps and loop files.
"""

from nnactive_server.loop.clock import Clock, read_costs
from nnactive_server.loop.cycle import Cycle
from nnactive_server.loop.engine import SegmentationEngine, TrainingSummary
from nnactive_server.loop.export import WORK, export_project, latest_members
from nnactive_server.loop.folder import (
    RUN,
    SPLIT,
    BusyProject,
    CycleFolder,
    claim,
    pool_cases,
    project_lock,
)
from nnactive_server.loop.outputs import read_maps
from nnactive_server.loop.pool import LabelSource
from nnactive_server.loop.proposal import query_entry, read_proposal, read_query, write_proposal
from nnactive_server.loop.requery import Answer, MakeEngine, requery

__all__ = [
    "RUN",
    "SPLIT",
    "WORK",
    "Answer",
    "BusyProject",
    "Clock",
    "Cycle",
    "CycleFolder",
    "LabelSource",
    "MakeEngine",
    "SegmentationEngine",
    "TrainingSummary",
    "claim",
    "export_project",
    "latest_members",
    "pool_cases",
    "project_lock",
    "query_entry",
    "read_costs",
    "read_maps",
    "read_proposal",
    "read_query",
    "requery",
    "write_proposal",
]
