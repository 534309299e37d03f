"""The server as seen from Slicer: the standard library, numpy and requests, nothing of Slicer.

`Client` has a method for each route, `Outbox` keeps answers until the server has them, `Worker` does both
away from the windows, `check.test_connection` says why there is no connection.
"""

from NNActiveLogic.client.answers import Answer, AnswerRecord, Kind, Reason
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.client.background import EventReader, LeaseKeeper, keep_leases, read_events, send_answers
from NNActiveLogic.client.check import ConnectionReport
from NNActiveLogic.client.errors import ClientError, Conflict, Leased
from NNActiveLogic.client.outbox import Entry, Outbox, Report
from NNActiveLogic.client.outbox_file import outbox_path
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Box, Case, Job, Label, Patch, Project
from NNActiveLogic.client.worker import Periodic, Task, Worker

__all__ = [
    "Answer",
    "AnswerRecord",
    "Box",
    "Case",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionReport",
    "Entry",
    "EventReader",
    "Job",
    "Kind",
    "Label",
    "LeaseKeeper",
    "Leased",
    "Limits",
    "Outbox",
    "Patch",
    "Periodic",
    "Project",
    "Reason",
    "Report",
    "Task",
    "VoxelArray",
    "Worker",
    "keep_leases",
    "outbox_path",
    "read_events",
    "send_answers",
]
