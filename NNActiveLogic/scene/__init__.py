"""Everything that touches the MRML scene: slicer, vtk and numpy, no Qt.

`SceneAdapter` is what the presenter works with; `results` and `plots` show cases, predictions and learning
curves; `placing` turns clicks and rough boxes into voxels and sizes; `outgoing` writes volumes for the
server.
"""

from NNActiveLogic.scene.adapter import SceneAdapter

__all__ = ["SceneAdapter"]
