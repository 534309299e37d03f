"""Which step of the work is next."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from NNActiveLogic.presenter.presenter import Presenter


class Step(StrEnum):
    """Steps from top to bottom of the panel."""

    CONNECT = "connect"
    PROJECT = "project"
    START = "start"
    WORK = "work"


class ProjectStep(StrEnum):
    """Steps within the section Project."""

    CHOOSE = "choose"
    IMAGES = "images"
    SIZE = "size"
    FIRST = "first"
    READY = "ready"


def step(presenter: Presenter) -> Step:
    """What somebody has to do next.

    A connection that is lost or whose token is refused is no reason to leave the work: answers are kept.
    """
    if presenter.opened is not None:
        return Step.WORK if presenter.opened.budget().ready else Step.START
    return Step.PROJECT if presenter.connection.client is not None else Step.CONNECT


def project_step(presenter: Presenter) -> ProjectStep:
    """What a project needs next; READY when it can be worked on."""
    opened = presenter.opened
    if opened is None:
        return ProjectStep.CHOOSE
    if opened.budget().ready:
        return ProjectStep.READY
    sending = opened.uploads.view()
    # What failed is said there, so that nobody goes on without knowing it.
    if not opened.records.now.cases or sending.running or sending.failed:
        return ProjectStep.IMAGES
    return ProjectStep.FIRST if opened.sized or opened.records.now.patches else ProjectStep.SIZE
