"""The embedded Segment Editor: it shows the open box, and takes no strokes while none can be edited."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from NNActiveLogic.scene import segments
from NNActiveLogic.scene.adapter import SceneAdapter

EFFECTS = ("Paint", "Draw", "Erase", "Level tracing", "Scissors", "Threshold")
"""Those that keep to the part where painting is allowed; others write past the mask or add segments."""


class Editing:
    """Hands the patch's segmentation to the editor and takes it away.

    Args:
        editor: qMRMLSegmentEditorWidget, with the scene.
        adapter: knows the segmentation, and the editor's own parameter node.
    """

    def __init__(self, editor: Any, adapter: SceneAdapter) -> None:
        self._editor, self._adapter = editor, adapter
        self._shown = vtk.vtkWeakReference()
        self._effect = ""
        self._before = ""
        self._entered = False
        editor.setEffectNameOrder(list(EFFECTS))
        editor.unorderedEffectsVisible = False
        self._lock()

    def follow(self, editable: bool) -> None:
        """Show what is open now; it can be edited only if `editable`."""
        node = self._adapter.segmentation_node
        if node is None:
            self.pause()
            self._detach()
            return
        if self._shown.Get() is not node:
            self._attach(node)
        if editable and self._entered:
            self._unlock()
        else:
            self.pause()

    def pause(self) -> None:
        """Take no strokes; the chosen tool comes back with `follow`."""
        effect = self._editor.activeEffect()
        if effect is not None:
            self._effect = effect.name
            self._editor.setActiveEffect(None)
        self._lock()

    def enter(self) -> None:
        """The module was selected."""
        self._entered = True
        self._adapter.mend()
        self._editor.installKeyboardShortcuts()

    def exit(self) -> None:
        """Another module was selected: nothing of the editor listens to the views or keys any more."""
        self._entered = False
        self.pause()
        self._editor.uninstallKeyboardShortcuts()
        self._editor.removeViewObservations()

    def release(self) -> None:
        """Let go of every node."""
        self.pause()
        self._shown.Set(None)
        self._editor.setSegmentationNode(None)
        self._editor.setMRMLSegmentEditorNode(None)

    def toggleUnsure(self) -> None:
        """Draw what nobody can tell, or go back to the structure that was drawn before."""
        node = self._shown.Get()
        # The editor's own keys are dead while it is locked; a call would give it a brush all the same.
        if node is None or self._editor.readOnly:
            return
        unsure = segments.segment_ids(node, segments.UNSURE)
        current = self._editor.currentSegmentID()
        if current in unsure:
            wanted = self._before or segments.segment_ids(node, segments.class_tag(1))[0]
        else:
            self._before, wanted = current, next(iter(unsure), "")
        if wanted:
            self._editor.setCurrentSegmentID(wanted)
            if self._editor.activeEffect() is None:
                self._editor.setActiveEffectByName("Paint")

    def _attach(self, node: Any) -> None:
        self._shown.Set(node)
        self._before = ""
        self._editor.setMRMLSegmentEditorNode(self._adapter.editor_node)
        self._editor.setSegmentationNode(node)
        self._editor.setSourceVolumeNode(self._adapter.image_node)
        # The segment that marks the box is not to be drawn on, or shown.
        hidden = segments.segment_ids(node, segments.BOX)
        for view in slicer.util.findChildren(self._editor, className="qMRMLSegmentsTableView"):
            view.setHideSegments(hidden)

    def _detach(self) -> None:
        if self._shown.Get() is not None:
            self._shown.Set(None)
            self._editor.setSegmentationNode(None)

    def _lock(self) -> None:
        self._editor.readOnly = True

    def _unlock(self) -> None:
        if not self._editor.readOnly:
            return
        self._editor.readOnly = False
        if self._effect:
            self._editor.setActiveEffectByName(self._effect)
            self._effect = ""
