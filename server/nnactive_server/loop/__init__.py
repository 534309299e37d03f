"""One active-learning cycle on a project folder: labels, training, prediction of the pool, query.

Every step leaves a file, so work that was stopped anywhere goes on where it was. Knows nothing of
hidden truth: whoever answers the queries writes label maps and loop files.
"""

from nnactive_server.loop.clock import Clock, read_costs
from nnactive_server.loop.cycle import Cycle
from nnactive_server.loop.engine import SegmentationEngine, TrainingSummary
from nnactive_server.loop.export import WORK, export_project, latest_members
from nnactive_server.loop.folder import CycleFolder, claim, project_lock
from nnactive_server.loop.pool import LabelSource, read_maps
from nnactive_server.loop.proposal import read_proposal, write_proposal

__all__ = [
    "WORK",
    "Clock",
    "Cycle",
    "CycleFolder",
    "LabelSource",
    "SegmentationEngine",
    "TrainingSummary",
    "claim",
    "export_project",
    "latest_members",
    "project_lock",
    "read_costs",
    "read_maps",
    "read_proposal",
    "write_proposal",
]
