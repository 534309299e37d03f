"""Everything that touches the MRML scene: slicer, vtk and numpy, no Qt.

`SceneAdapter` is what the presenter works with; `results` and `plots` show predictions and learning curves.
"""

from NNActiveLogic.scene.adapter import SceneAdapter

__all__ = ["SceneAdapter"]
