"""What everything that belongs to one opened project shares."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.outbox import Outbox
from NNActiveLogic.client.values import Project
from NNActiveLogic.presenter.activity import IDLE_SECONDS
from NNActiveLogic.presenter.cache import DEFAULT_BYTES
from NNActiveLogic.presenter.connection import Connection
from NNActiveLogic.presenter.lanes import LanesLike
from NNActiveLogic.work import HeatSettings, SceneLike

if TYPE_CHECKING:
    from NNActiveLogic.presenter.loader import Start


@dataclass(slots=True)
class Preferences:
    """What a clinician may choose.

    Attributes:
        prefill: start from the prediction; otherwise from an empty box.
        ahead: boxes fetched and loaded ahead.
        cache_bytes: memory for voxels loaded ahead.
        idle_seconds: without input for so long, the time does not count as work.
        reading: 2 for second readings.
        heat: how the heat map is drawn.
    """

    prefill: bool = True
    ahead: int = 2
    cache_bytes: int = DEFAULT_BYTES
    idle_seconds: float = IDLE_SECONDS
    reading: int = 1
    heat: HeatSettings = field(default_factory=HeatSettings)


@dataclass(frozen=True, slots=True, eq=False)
class Desk:
    """An opened project.

    Attributes:
        client: to the server.
        project: as it was opened.
        person: name of the user.
        outbox: unsent answers of this person to this project.
        connection: is told of failures.
        lanes: threads.
        scene: views and editor.
        preferences: of the clinician.
        changed: called when something else is to be shown.
        clock: seconds that only grow.
        drafts: unfinished drawings by patch; they outlive the project's closing, such as for a new token.
    """

    client: Client
    project: Project
    person: str
    outbox: Outbox
    connection: Connection
    lanes: LanesLike
    scene: SceneLike
    preferences: Preferences
    changed: Callable[[], None]
    clock: Callable[[], float] = time.monotonic
    drafts: dict[str, Start] = field(default_factory=dict)
