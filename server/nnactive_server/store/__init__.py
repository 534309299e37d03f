"""The durable state of the server: one SQLite file and content-addressed files; knows values, not the loop.

`Store` opens it all. Nothing that a call acknowledged by returning is lost when a process is killed or the
power fails; nothing is there by half.
"""

from nnactive_server.core.roles import Role
from nnactive_server.store.answers import Answer, AnswerRecord, Answers, Change, Kind, Reason
from nnactive_server.store.blobs import Blobs, Limits
from nnactive_server.store.cases import Case, Cases, Source, check_case_name
from nnactive_server.store.database import Database
from nnactive_server.store.effort import Effort, efforts
from nnactive_server.store.events import Event, Events, acting
from nnactive_server.store.idempotency import Idempotency, Reply, Request
from nnactive_server.store.ids import ID
from nnactive_server.store.jobs import Job, Jobs, JobState, Progress
from nnactive_server.store.leases import Leases
from nnactive_server.store.patch_rows import Lease, NewPatch, Origin, PatchRecord, PatchState
from nnactive_server.store.patches import Patches
from nnactive_server.store.projects import Project, Projects
from nnactive_server.store.state import Store
from nnactive_server.store.tokens import Token, Tokens
from nnactive_server.store.uploads import Upload, Uploads

__all__ = [
    "ID",
    "Answer",
    "AnswerRecord",
    "Answers",
    "Blobs",
    "Case",
    "Cases",
    "Change",
    "Database",
    "Effort",
    "Event",
    "Events",
    "Idempotency",
    "Job",
    "JobState",
    "Jobs",
    "Kind",
    "Lease",
    "Leases",
    "Limits",
    "NewPatch",
    "Origin",
    "PatchRecord",
    "PatchState",
    "Patches",
    "Progress",
    "Project",
    "Projects",
    "Reason",
    "Reply",
    "Request",
    "Role",
    "Source",
    "Store",
    "Token",
    "Tokens",
    "Upload",
    "Uploads",
    "acting",
    "check_case_name",
    "efforts",
]
