"""How images may lie in the world: directions (LPS; columns are the axes x, y, z of the voxels)."""

import numpy as np
from scipy.spatial.transform import Rotation

TILTED = Rotation.from_euler("xyz", (20, -35, 10), degrees=True).as_matrix()
DIRECTIONS = {
    "straight": np.eye(3),
    "oblique": TILTED,
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "left-handed": TILTED @ np.diag([1.0, 1.0, -1.0]),
    "axes swapped": np.eye(3)[[2, 0, 1]],
}
