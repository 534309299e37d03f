"""Brush strokes as Slicer's Segment Editor makes them: through its own logic, with masking and undo."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support


class Painter:
    """The Segment Editor without its window.

    Args:
        editor: the parameter node that the panel's editor uses; it says what is painted in, and where.
    """

    def __init__(self, editor: Any) -> None:
        self._editor = editor
        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.logic.SetSegmentEditorNode(editor)
        history = slicer.vtkSegmentationHistory()
        history.SetMaximumNumberOfStates(10)
        history.SetSegmentation(editor.GetSegmentationNode().GetSegmentation())
        self.logic.SetSegmentationHistory(history)

    def paint(self, segment_id: str, where: np.ndarray) -> None:
        """Add voxels to a segment; `where` is bool (z, y, x) of the whole image."""
        self._stroke(segment_id, where, self.logic.ModificationModeAdd)

    def erase(self, segment_id: str, where: np.ndarray) -> None:
        """Take voxels out of a segment; `where` is bool (z, y, x) of the whole image."""
        self._stroke(segment_id, where, self.logic.ModificationModeRemove)

    def undo(self) -> None:
        """Take the last stroke back."""
        self.logic.Undo()

    def _stroke(self, segment_id: str, where: np.ndarray, mode: int) -> None:
        self.logic.SaveStateForUndo()
        self._editor.SetSelectedSegmentID(segment_id)
        self.logic.UpdateReferenceGeometryImage()
        self.logic.ResetModifierLabelmapToDefault()
        modifier = self.logic.GetModifierLabelmap()
        _draw(modifier, where)
        node = self._editor.GetSegmentationNode()
        self.logic.ModifySegmentByLabelmap(node, segment_id, modifier, mode, False, False)


def whole_image(where: np.ndarray, volume: Any) -> vtk.vtkImageData:
    """An oriented image with a volume's whole grid; for editors that do not know of the box."""
    made = slicer.vtkOrientedImageData()
    z, y, x = where.shape
    made.SetExtent(0, x - 1, 0, y - 1, 0, z - 1)
    made.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    made.SetGeometryFromImageToWorldMatrix(matrix)
    _draw(made, where)
    return made


def _draw(image: Any, where: np.ndarray) -> None:
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    values.reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)[:] = where[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1]
    image.Modified()
