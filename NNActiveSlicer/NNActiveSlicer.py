"""NNActive: a segmentation model that learns from the boxes a radiologist is asked to look at.

The panel with its timer, and the same for scripts. What is shown and decided is in NNActiveLogic, which is
loaded when the module is first used: Slicer imports this file each time it starts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if TYPE_CHECKING:
    from NNActiveSlicerLib.panel import Panel

    from NNActiveLogic.client.values import Project

# In the packaged extension NNActiveLogic lies beside this file; in a checkout it is one folder up.
_CHECKOUT = Path(__file__).resolve().parent.parent
if (_CHECKOUT / "NNActiveLogic" / "__init__.py").is_file() and str(_CHECKOUT) not in sys.path:
    sys.path.append(str(_CHECKOUT))

ENTERED_MS, LEFT_MS = 30, 250
"""Between two turns of the timer: while the panel is seen, and while answers are only being sent."""
LAST_SECONDS = 2.0
"""At the end of the program, for giving leases back; answers are on the disk already."""
OWN_PACKAGES = ("NNActiveLogic", "NNActiveSlicerLib")


class NNActiveSlicer(ScriptedLoadableModule):
    """Title and texts for the application."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("NNActive")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SegmentEditor", "Volumes", "Markups", "Plots"]
        self.parent.contributors = ["The NNActive contributors"]
        self.parent.helpText = _(
            "Teaches a segmentation model with few annotations: the model says where it is uncertain, you"
            " look at small boxes there, correct what it drew, and it learns from your answers."
        )
        self.parent.acknowledgementText = _("Built on nnU-Net. See the extension's home page for references.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Enter the images of the tutorial in the module Sample Data."""
    from NNActiveSlicerLib.sample_data import register

    register(Path(__file__).parent / "Resources" / "Icons")


class NNActiveSlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: a frame with sections, and the timer by which results arrive."""

    def __init__(self, parent: Any = None) -> None:
        self.logic: NNActiveSlicerLogic | None = None
        self.panel: Panel | None = None
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self) -> None:
        """Build the panel; called once by the application."""
        from NNActiveSlicerLib import sections
        from NNActiveSlicerLib.keys import Keys
        from NNActiveSlicerLib.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        frame = slicer.util.loadUI(self.resourcePath("UI/NNActiveSlicer.ui"))
        self.layout.addWidget(frame)
        self.ui = slicer.util.childWidgetVariables(frame)
        frame.setMRMLScene(slicer.mrmlScene)
        self.logic = NNActiveSlicerLogic(self._changed)
        self.panel = Panel(self.logic, self.ui, self.resourcePath)
        sections.build(self.panel, self.ui)
        self.keys = Keys(self.panel)
        self.timer = qt.QTimer(frame)
        self.timer.interval = LEFT_MS
        self.timer.connect("timeout()", self.onTimer)
        self.timer.start()
        self._observe()
        if self.parent.isEntered:
            self.enter()  # after a reload: the module was selected all along, and nobody says so again

    def enter(self) -> None:
        """The module was selected."""
        if self.panel is None:
            return
        self.panel.entered = True
        for section in self.panel.sections.values():
            section.enter()
        self.keys.install()
        self.timer.interval = ENTERED_MS
        self.panel.refresh()

    def exit(self) -> None:
        """Another module was selected; answers are sent on."""
        if self.panel is None:
            return
        self.panel.entered = False
        self.keys.remove()
        self.timer.interval = LEFT_MS
        for section in self.panel.sections.values():
            section.exit()

    def cleanup(self) -> None:
        """The panel is taken down, by a reload or when the module is unloaded. Nothing happens twice."""
        if self.panel is not None:
            self._end()
            slicer.app.disconnect("aboutToQuit()", self.onQuit)

    def onReload(self) -> None:
        """The developer's button: the packages of the module are read anew, too."""
        self.cleanup()
        for name in [*sys.modules]:
            if name.partition(".")[0] in OWN_PACKAGES:
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onQuit(self) -> None:
        """The program ends. The main window, with its shortcuts, is gone when modules are unloaded."""
        if self.panel is not None:
            self._end()

    def onTimer(self) -> None:
        """Results arrive, and what has changed is drawn."""
        if self.panel is not None:
            self.panel.tick()

    def onSceneStartClose(self, _caller: Any, _event: str) -> None:
        """Keep what is drawn, and let go of every node."""
        self._tellSections("sceneClosing")
        if self.logic is not None:
            self.logic.leaveScene()

    def onSceneChanged(self, _caller: Any, _event: str) -> None:
        """The scene was emptied or loaded."""
        self._tellSections("sceneChanged")
        self._changed()

    def _end(self) -> None:
        self.timer.stop()
        try:
            self.exit()
            for section in self.panel.sections.values():
                section.cleanup()
        finally:
            self.panel = None
            self.removeObservers()
            self.logic.close()

    def _observe(self) -> None:
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneChanged)
        slicer.app.connect("aboutToQuit()", self.onQuit)

    def _tellSections(self, hook: str) -> None:
        if self.panel is not None:
            for section in self.panel.sections.values():
                getattr(section, hook)()

    def _changed(self) -> None:
        if self.panel is not None:
            self.panel.refreshSoon()


class NNActiveSlicerLogic(ScriptedLoadableModuleLogic):
    """The same work without the panel, for scripts and other modules.

    `presenter` has everything the panel can do; its calls return at once. The methods here wait, up to a
    given time, and keep the windows alive meanwhile; they raise RuntimeError with a sentence why not.

    Attributes:
        settings: of this computer.
        adapter: views and editor.
        presenter: the clinician's work.
        server: on this computer.
        local: how it is used.

    Args:
        changed: called when something else is to be shown.
    """

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        from NNActiveSlicerLib.server_here import serverHere
        from NNActiveSlicerLib.settings import Settings

        from NNActiveLogic.presenter import Presenter, words
        from NNActiveLogic.presenter.local import Local
        from NNActiveLogic.scene.adapter import SceneAdapter

        ScriptedLoadableModuleLogic.__init__(self)
        words.use(lambda text: translate("NNActiveLogic", text))
        told = changed or (lambda: None)
        self.settings = Settings()
        self.adapter = SceneAdapter()
        self.presenter = Presenter(self.adapter, self.settings, self.settings.folder(), told)
        self.server = serverHere(self.settings)
        self.local = Local(self.server, self.presenter.connection, self.presenter.lanes, self.settings, told)

    def useThisComputer(self, seconds: float = 120.0) -> str:
        """Start the server that is installed here and connect to it; returns the name of its user."""
        self._require(self.local.resume())
        self.waitFor(lambda: not self.local.view().busy, seconds)
        if not self.local.view().can_stop:
            raise RuntimeError(self.local.view().sentence)
        return self._connected(seconds)

    def connect(self, address: str, token: str, seconds: float = 30.0) -> str:
        """Connect to a server; returns the name of the person whose token it is."""
        self.presenter.connection.connect(address, token)
        return self._connected(seconds)

    def openProject(self, project: str, seconds: float = 60.0) -> Project:
        """Open a project by its name or id."""
        projects = self.presenter.projects
        self._require(projects.list())
        self.waitFor(lambda: not projects.busy, seconds)
        found = [one for one in projects.known if project in (one.id, one.name)]
        if len(found) != 1:
            raise RuntimeError(projects.notice or f"{len(found)} projects are called '{project}'.")
        self._require(self.presenter.open(found[0].id))
        self.waitFor(lambda: not self.presenter.opening, seconds)
        if self.presenter.opened is None:
            raise RuntimeError(self.presenter.notice)
        return self.presenter.opened.project

    def waitFor(self, condition: Callable[[], Any], seconds: float) -> None:
        """Let results arrive until the condition holds; RuntimeError when it does not in time."""
        ends = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > ends:
                raise RuntimeError(f"The server did not answer within {seconds:g} s.")
            self.presenter.tick()
            slicer.app.processEvents()
            time.sleep(0.01)

    def leaveScene(self) -> None:
        """Keep what is drawn, and take everything of ours out of the scene."""
        if self.presenter.opened is not None:
            self.presenter.opened.session.leave(sure=True)
        self.adapter.leave()

    def close(self) -> None:
        """End every thread; unsent answers stay on the disk. Nothing happens the second time."""
        self.local.close()
        self.presenter.close(LAST_SECONDS)

    def _connected(self, seconds: float) -> str:
        connection = self.presenter.connection
        self.waitFor(lambda: connection.state != "checking", seconds)
        if not connection.online:
            raise RuntimeError(connection.view().sentence)
        return connection.name

    def _require(self, said: Any) -> None:
        if not said.ok:
            raise RuntimeError(said.text)


class NNActiveSlicerTest(ScriptedLoadableModuleTest):
    """Run by "Reload and Test", and by ctest inside Slicer; needs neither a server nor the internet."""

    def setUp(self) -> None:
        """An empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Every test of this class."""
        for test in (self.test_labels, self.test_volume, self.test_panel):
            self.setUp()
            test()

    def test_labels(self) -> None:
        """What is painted in the box of an oblique image is what is sent."""
        from NNActiveSlicerLib import self_test

        painted, read = self_test.paintAndRead()
        assert (painted == read).all()

    def test_volume(self) -> None:
        """A volume of the scene becomes a file with the same voxels in the same place."""
        from NNActiveSlicerLib import self_test

        assert self_test.differences() == []

    def test_panel(self) -> None:
        """The panel opens with its sections."""
        panel = slicer.modules.nnactiveslicer.widgetRepresentation().self().panel
        assert [*panel.sections][:2] == ["connect", "project"]
