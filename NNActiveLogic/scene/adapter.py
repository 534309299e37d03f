"""A patch on the screen: its image, heat map, box and segmentation, and what was painted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import vtk

from NNActiveLogic.client.arrays import VoxelArray
from NNActiveLogic.scene import boxes, heatmap, nodes, results, segments, views, volumes
from NNActiveLogic.scene.grid import Grid
from NNActiveLogic.scene.reading import read_box, refuse_transform
from NNActiveLogic.work import HeatSettings, PatchView, Reading, WorkError

_REOPEN = "Open the box again."


class SceneAdapter:
    """Implements `work.SceneLike` on `slicer.mrmlScene`; only on the thread of the windows.

    It holds no node across calls: a scene may be closed or loaded at any time, and then nothing is open.
    A patch whose painted segmentation came with a loaded scene goes on where it was (`resumed`).

    Args:
        clock: seconds; tells brush strokes apart.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._view: PatchView | None = None
        self._segments = vtk.vtkWeakReference()
        self._counter: segments.EditCounter | None = None
        self._settings = HeatSettings()
        self._heat: VoxelArray | None = None
        self._stale = False
        self._in_3d = False
        self._windows: dict[str, tuple[float, float]] = {}
        self.resumed = False

    @property
    def is_open(self) -> bool:
        """Whether a patch is shown."""
        return self._view is not None and self.segmentation_node is not None

    @property
    def is_shown(self) -> bool:
        """Whether the open patch can be seen; it cannot while another case is looked at, until `centre()`."""
        node = self.segmentation_node
        return node is not None and bool(node.GetDisplayVisibility())

    @property
    def segmentation_node(self) -> Any:
        """The segmentation for the panel's editor; None when no patch is open."""
        node = self._segments.Get()
        return node if node is not None and node in nodes.find_all(nodes.Role.SEGMENTS) else None

    @property
    def editor_node(self) -> Any:
        """The parameter node for the panel's editor; it stays between patches. None before the first."""
        return nodes.find(nodes.Role.EDITOR)

    @property
    def image_node(self) -> Any:
        """The case's image; None before the first patch."""
        return nodes.find(nodes.Role.IMAGE)

    def open(self, view: PatchView) -> None:
        """Show a patch and make its box editable; replaces the one that is open.

        Raises:
            WorkError: the box or an array does not fit the image, or the image is under a transform.
        """
        kept = self._kept(view)
        try:
            self._check(view)
            self._show(view, kept)
        except WorkError:
            self.close()
            raise

    def read(self) -> Reading:
        """What stands in the box now.

        Raises:
            WorkError: see `reading.read_box`; or nothing is open.
        """
        node = self.segmentation_node
        if self._view is None or node is None:
            raise WorkError("No box is open: its segmentation is not in the scene.", _REOPEN)
        image = volumes.image_of(self._view.case)
        if image is None:
            raise WorkError("The case's image was removed from the scene, or moved.", _REOPEN)
        labels, unsure = read_box(node, image, self._view.patch.box, self._view.labels)
        before, open_before = _start(self._view)
        open_now = np.zeros(labels.shape, bool) if unsure is None else unsure
        same = np.array_equal(labels, before) and np.array_equal(open_now, open_before)
        return Reading(labels, unsure, changed=not same)

    def set_heat(self, settings: HeatSettings, heat: VoxelArray | None) -> None:
        """Draw the heat map in another way, or another one; None removes it.

        The settings hold for the patches that follow. Nothing is drawn when no patch is open.
        """
        self._settings = settings
        if self._view is not None and self.is_open:
            self._draw_heat(self._view, heat)

    def set_heat_in_3d(self, visible: bool) -> None:
        """Draw the heat map in the 3D view too; off at first."""
        self._in_3d = visible
        if self._view is not None:
            heatmap.show_in_3d(visible, self._settings, _names(self._view))

    def mark_stale(self) -> None:
        """Say that the heat map and the prediction come from an older model: the colours go grey."""
        self._stale = True
        node = nodes.find(nodes.Role.HEAT)
        if self._view is not None and node is not None:
            heatmap.style(node, self._settings, _names(self._view), stale=True)

    def edits(self) -> int:
        """How often something was changed since the patch was opened."""
        return self._counter.count if self._counter else 0

    def centre(self) -> None:
        """Show the patch again as it was opened, after looking elsewhere; what was drawn stays."""
        if self._view is None or not self.is_open:
            return
        image = volumes.image_of(self._view.case)
        if image is not None:
            results.back_to_work()
            views.show_background(image)
            self._draw_heat(self._view, self._heat)
            self.set_heat_in_3d(self._in_3d)
            views.go_to(image, Grid.of_case(self._view.case).crop(self._view.patch.box))

    def mend(self) -> None:
        """Make the whole box paintable again, after somebody worked in Slicer's own Segment Editor."""
        node, view = self.segmentation_node, self._view
        image = volumes.image_of(view.case) if view is not None else None
        if view is not None and node is not None and image is not None:
            segments.mend_box(node, image, view.patch.box)

    def close(self) -> None:
        """Remove what belongs to the patch. The image, the editor's settings and hidden nodes stay."""
        self._forget()
        heatmap.empty_heat()
        self._heat = None
        boxes.hide_box()
        nodes.remove(nodes.Role.SEGMENTS)

    def leave(self) -> None:
        """Remove all that is ours, predictions and curves too; best called before a scene is closed."""
        self.close()
        views.turn_back()
        for role in nodes.Role:
            nodes.remove(role)

    def _check(self, view: PatchView) -> None:
        box = view.patch.box
        ends = [start + size for start, size in zip(box.start, box.size, strict=True)]
        if min(box.start) < 0 or min(box.size) < 1 or any(np.greater(ends, view.case.shape)):
            raise WorkError(
                f"The box does not lie in the image of {view.case.name}.", "Tell whoever runs the server."
            )
        for what, values in (("prediction", view.prefill), ("unsure mask", view.unsure)):
            if values is not None and values.shape != box.size:
                raise WorkError(
                    f"The {what} has {values.shape} voxels, the box has {box.size}.",
                    "Open the box again; if this stays, tell whoever runs the server.",
                )
        if view.heat is not None and Grid.of_case(view.case).offset_of(Grid.of_array(view.heat.info)) is None:
            raise WorkError(
                "The heat map does not have the voxels of the image.", "Tell whoever runs the server."
            )
        if view.prefill is not None and view.prefill.size and view.prefill.max() > len(view.labels):
            raise WorkError(
                "The prediction holds a class that the project does not have.",
                "Tell whoever runs the server.",
            )

    def _show(self, view: PatchView, kept: Any) -> None:
        self._forget()
        self._keep_window()
        whole = Grid.of_case(view.case)
        grid = whole.crop(view.patch.box)
        around = boxes.with_margin(view.patch.box, whole, float(grid.extent_mm.max()) / 2)
        image = volumes.show_image(view.case, view.image, around)
        refuse_transform(image, "The image")
        if view.case.id in self._windows:
            volumes.set_window(image, *self._windows[view.case.id])
        results.hide_predictions()
        views.show_background(image)
        self._view, self._stale = view, view.stale
        boxes.show_box(grid)
        self._draw_heat(view, view.heat)
        self._edit(view, image, kept)
        views.go_to(image, grid)

    def _edit(self, view: PatchView, image: Any, kept: Any) -> None:
        if kept is None:
            labels, unsure = _start(view)
            node = segments.create(image, view.patch.box, view.labels, labels, unsure)
            node.SetAttribute(nodes.CASE, view.case.id)
            node.SetAttribute(nodes.PATCH, view.patch.id)
            node.SetAttribute(nodes.REVISION, str(view.patch.revision))
        else:
            node = kept
            segments.take_up(node)
        self.resumed = kept is not None
        self._segments.Set(node)
        segments.connect_editor(node, image)
        self._counter = segments.EditCounter(node, self._clock)

    def _draw_heat(self, view: PatchView, heat: VoxelArray | None) -> None:
        node = nodes.find(nodes.Role.HEAT)
        if heat is None:
            heatmap.remove_heat()
        elif heat is self._heat and node is not None:
            heatmap.style(node, self._settings, _names(view), self._stale)
        else:
            heatmap.show_heat(heat, self._settings, _names(view), self._stale)
            if self._in_3d:
                heatmap.show_in_3d(True, self._settings, _names(view))
        self._heat = heat

    def _kept(self, view: PatchView) -> Any:
        """A segmentation of this patch that came with a loaded scene; None when there is none."""
        ours, whole = self.segmentation_node, Grid.of_case(view.case)
        for node in nodes.find_all(nodes.Role.SEGMENTS):
            same_patch = node.GetAttribute(nodes.PATCH) == view.patch.id
            same_answer = node.GetAttribute(nodes.REVISION) == str(view.patch.revision)
            if node is ours or not (same_patch and same_answer):
                continue
            if segments.is_whole(node, whole, view.patch.box, len(view.labels)):
                return node
        return None

    def _keep_window(self) -> None:
        image = self.image_node
        if image is not None and image.GetDisplayNode() is not None:
            self._windows[image.GetAttribute(nodes.CASE)] = volumes.window_of(image)

    def _forget(self) -> None:
        if self._counter is not None:
            self._counter.stop()
        self._counter = None
        self._view = None
        self._segments.Set(None)
        self.resumed = False


def _start(view: PatchView) -> tuple[np.ndarray, np.ndarray]:
    """Labels (uint8) and open voxels (bool) of the box as the patch is first shown.

    An open voxel has no class: painting `unsure` takes the class away, too.
    """
    labels = (
        np.zeros(view.patch.box.size, np.uint8) if view.prefill is None else view.prefill.astype(np.uint8)
    )
    unsure = np.zeros(labels.shape, bool) if view.unsure is None else view.unsure.astype(bool)
    return np.where(unsure, np.uint8(0), labels), unsure


def _names(view: PatchView) -> tuple[str, ...]:
    return tuple(label.name for label in view.labels)
