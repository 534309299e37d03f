"""The sections of the panel, from top to bottom."""

from __future__ import annotations

from typing import Any

from NNActiveSlicerLib.connect_section import ConnectSection
from NNActiveSlicerLib.panel import Panel
from NNActiveSlicerLib.patch_section import PatchSection
from NNActiveSlicerLib.progress_section import ProgressSection
from NNActiveSlicerLib.project_section import ProjectSection
from NNActiveSlicerLib.section import Section
from NNActiveSlicerLib.training_section import TrainingSection
from NNActiveSlicerLib.work_list_section import WorkListSection

SECTIONS: dict[str, type[Section]] = {
    "connect": ConnectSection,
    "project": ProjectSection,
    "workList": WorkListSection,
    "patch": PatchSection,
    "training": TrainingSection,
    "progress": ProgressSection,
}


def build(panel: Panel, ui: Any) -> None:
    """Fill each fold of the frame; the fold of `workList` is called `workListFold`."""
    for name, kind in SECTIONS.items():
        panel.sections[name] = kind(panel, getattr(ui, f"{name}Fold"))
    for section in panel.sections.values():
        section.setup()
