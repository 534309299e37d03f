"""One step of the work: a fold of the panel with a .ui file of its own."""

from __future__ import annotations

from typing import Any

import slicer

from NNActiveSlicerLib.panel import Panel


class Section:
    """Base of the sections. A section draws what the presenter shows and hands on what somebody does.

    Attributes:
        uiName: name of its file in Resources/UI, without ".ui".
        panel: what the sections share.
        container: the fold (ctkCollapsibleButton) in the panel.
        ui: the widgets of its .ui file by name.

    Args:
        panel: what the sections share.
        container: the fold that it fills.
    """

    uiName = ""

    def __init__(self, panel: Panel, container: Any) -> None:
        self.panel = panel
        self.container = container
        self.root = slicer.util.loadUI(panel.resourcePath(f"UI/{self.uiName}.ui"))
        container.layout().addWidget(self.root)
        self.ui = slicer.util.childWidgetVariables(self.root)
        self.root.setMRMLScene(slicer.mrmlScene)

    @property
    def presenter(self) -> Any:
        """The clinician's work (`NNActiveLogic.presenter.Presenter`)."""
        return self.panel.presenter

    def setup(self) -> None:
        """Connect signals; called once."""

    def refresh(self) -> None:
        """Draw what the presenter shows. Cheap, may be called at any time, and tells nobody."""

    def tick(self) -> None:
        """A turn of the timer, while the module is open; for what has to be asked again and again."""

    def enter(self) -> None:
        """The module was selected."""

    def exit(self) -> None:
        """Another module was selected."""

    def sceneClosing(self) -> None:
        """The scene is about to be emptied: let go of every node."""

    def sceneChanged(self) -> None:
        """The scene was emptied, or another one was loaded into it."""

    def cleanup(self) -> None:
        """The panel is taken down; called once."""
