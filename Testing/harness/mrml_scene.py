"""A scene with Slicer's logics, without its application: what `slicer.mrmlScene` and `slicer.modules` need.

`start()` may be called once in a process; `clear()` closes the scene as File > Close does.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
import slicer.util
import vtk

LOGICS = {
    "segmentations": ("Segmentations", "vtkSlicerSegmentationsModuleLogic"),
    "volumes": ("Volumes", "vtkSlicerVolumesLogic"),
    "markups": ("Markups", "vtkSlicerMarkupsLogic"),
    "volumerendering": ("VolumeRendering", "vtkSlicerVolumeRenderingLogic"),
    "subjecthierarchy": ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic"),
    "plots": ("Plots", "vtkSlicerPlotsLogic"),
    "tables": ("Tables", "vtkSlicerTablesLogic"),
    "colors": ("Colors", "vtkSlicerColorLogic"),
    "sequences": ("Sequences", "vtkSlicerSequencesLogic"),
}
_KNOWN_COMPLAINTS = (
    "Share directory *NOT* set",  # presets of volume rendering are files of the application
    "Failed to load presets",
    "ColorTableNodeFileGenericColors.txt can't be found",  # a file of the application, too
    "invalid orientation preset name: Reformat",  # said of every scene with turned slice views that is read
    "required texture size of 16777216",  # software rendering has smaller tables
)


@dataclass(frozen=True)
class Bench:
    """What stands for the application."""

    scene: Any
    logic: Any
    messages: list[str]

    def complaints(self) -> list[str]:
        """Errors and warnings of VTK and MRML since the last call, without those only the harness has."""
        found = [text for text in self.messages if not any(known in text for known in _KNOWN_COMPLAINTS)]
        self.messages.clear()
        return found

    def clear(self) -> None:
        """Close the scene; the nodes that an application always has stay or come back."""
        self.scene.Clear(False)
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            node.SetOrientationToDefault()
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)  # made by who asks first


@cache
def start() -> Bench:
    """Make the scene; sets `slicer.mrmlScene` and `slicer.modules`, as the application would."""
    messages = _listen()
    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetMRMLScene(scene)
    logic.SetTemporaryPath(tempfile.gettempdir())
    home = tempfile.mkdtemp(prefix="no-slicer-")  # colour files of the application would lie there
    (Path(home) / "share" / "ColorFiles").mkdir(parents=True)
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    logic.SetHomeDirectory(home)
    logic.SetShareDirectory("share")
    _set_cache(scene, Path(home) / "cache")
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace(**{name: _module(logic, scene, *of) for name, of in LOGICS.items()})
    logic.GetColorLogic().SetMRMLScene(scene)
    logic.GetColorLogic().AddDefaultColorNodes()
    return Bench(scene, logic, messages)


def _set_cache(scene: Any, folder: Path) -> None:
    """Where a bundle (.mrb) is unpacked while it is read."""
    folder.mkdir()
    cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(str(folder))
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)


def _listen() -> list[str]:
    messages: list[str] = []

    def heard(_caller: Any, _event: str, text: str) -> None:
        messages.append(text.strip())

    heard.CallDataType = vtk.VTK_STRING  # type: ignore[attr-defined]
    window = vtk.vtkStringOutputWindow()
    for event in ("ErrorEvent", "WarningEvent"):
        window.AddObserver(event, heard)
    vtk.vtkOutputWindow.SetInstance(window)
    return messages


def _module(application: Any, scene: Any, name: str, class_name: str) -> SimpleNamespace:
    made = getattr(slicer, class_name)()
    made.SetMRMLApplicationLogic(application)
    made.SetMRMLScene(scene)
    application.SetModuleLogic(name, made)
    return SimpleNamespace(logic=lambda: made)


def write_scene(folder: Path) -> Path:
    """Save the scene as Slicer does: every node that is saved gets a file, and an .mrml file names them."""
    scene = slicer.mrmlScene
    scene.SetRootDirectory(str(folder))
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        if not node.IsA("vtkMRMLStorableNode") or not node.GetSaveWithScene():
            continue
        if node.IsA("vtkMRMLColorNode") or not node.AddDefaultStorageNode():
            continue
        storage = node.GetStorageNode()
        if storage is None:  # such as the plane of a slice view
            continue
        ending = storage.GetDefaultWriteFileExtension()
        storage.SetFileName(str(folder / f"{node.GetID()}.{ending}"))
        if not storage.WriteData(node):
            raise OSError(f"{node.GetName()} was not written")
    target = folder / "scene.mrml"
    scene.SetURL(str(target))
    if not scene.Commit():
        raise OSError(f"{target} was not written")
    return target


def read_scene(path: Path) -> None:
    """Open a scene file; what was there before is gone."""
    slicer.mrmlScene.SetURL(str(path))
    if not slicer.mrmlScene.Connect():
        raise OSError(f"{path} was not read")


def node_ids(class_name: str = "vtkMRMLNode") -> set[str]:
    """IDs of the nodes of a class."""
    found = slicer.mrmlScene.GetNodesByClass(class_name)
    found.UnRegister(None)
    return {found.GetItemAsObject(index).GetID() for index in range(found.GetNumberOfItems())}
