"""The loops in which an image becomes a larger one: each voxel of it goes to several of the output.

That is a transposed convolution, and what the gradient of a convolution with a stride does. The output falls
into parts, by where its voxels lie between those of the image. For each part the sums run over consecutive
voxels of the padded image, as in `kernels.py`.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.patch import Index3, index3
from nnactive_server.segmentation.fast.compiled import SUMS, compiled, share_threads
from nnactive_server.segmentation.fast.kernels import padded, taps

INPUTS = 4
"""Channels of the image that are added at once."""
OUTPUTS = 2
"""Channels of the output that are formed at once."""


def transposed_convolution(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Transposed convolution whose stride is its kernel, without bias, groups and padding.

    The result does not depend on the number of threads.

    Args:
        image: (B, C, z, y, x), float32 on the CPU; C a multiple of `INPUTS`.
        weight: (C, O, kz, ky, kx), float32, of any kernel; O a multiple of `OUTPUTS`.

    Returns:
        (B, O, kz * z, ky * y, kx * x) float32.

    Raises:
        SegmentationError: another type or shape; the compiled loop reads memory unchecked.
    """
    return _spread_out(image, weight, index3(weight.shape[2:]), 0)


def input_gradient(gradient: torch.Tensor, weight: torch.Tensor, stride: Index3) -> torch.Tensor:
    """Gradient of the image that went into a convolution with kernel 3 and padding 1, without groups.

    Args:
        gradient: of its output (B, O, z, y, x), float32 on the CPU; O a multiple of `INPUTS`.
        weight: of the convolution (O, C, 3, 3, 3), float32; C a multiple of `OUTPUTS`.
        stride: along each of z, y, x; the image was so many times as large as the output.

    Returns:
        (B, C, stride * z, ...) float32.

    Raises:
        SegmentationError: another type or shape.
    """
    if weight.shape[2:] != (3, 3, 3):
        raise SegmentationError(f"gradient for a kernel of {tuple(weight.shape[2:])}: 3x3x3 is needed")
    return _spread_out(gradient, weight, stride, 1)


def _spread_out(image: torch.Tensor, weight: torch.Tensor, stride: Index3, padding: int) -> torch.Tensor:
    """What a convolution with this padding does, the other way round: each weight from output to image."""
    channels, outputs = weight.shape[:2]
    wrong_type = {image.dtype, weight.dtype} != {torch.float32} or image.device.type != "cpu"
    if wrong_type or image.shape[1] != channels or channels % INPUTS or outputs % OUTPUTS:
        raise SegmentationError(
            f"spreading {tuple(image.shape)} {image.dtype} by {tuple(weight.shape)} {weight.dtype}: float32, "
            f"equal channels, multiples of {INPUTS} and {OUTPUTS} of them are needed"
        )
    part, offset = taps(tuple(weight.shape[2:]), stride, padding)
    out = torch.empty((len(image), outputs, *(n * s for n, s in zip(image.shape[2:], stride, strict=True))))
    kernels = weight.detach().reshape(channels, outputs, -1).permute(1, 2, 0).contiguous().numpy()
    share_threads()
    _spread(padded(image, "image"), kernels, part.copy(), -offset, np.array(stride), out.numpy())
    return out


@compiled(fastmath=SUMS)
def _spread(
    images: np.ndarray,
    kernels: np.ndarray,
    part: np.ndarray,
    offset: np.ndarray,
    stride: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill `out` (B, O, z, y, x) from padded rows (C, n) and kernels (O, taps, C).

    Tap t adds, to the voxels of the part `part[t]` (z, y, x), the image `offset[t]` voxels further.
    """
    batch, outputs = out.shape[:2]
    depth, height, width = out.shape[2] // stride[0], out.shape[3] // stride[1], out.shape[4] // stride[2]
    row = width + 2
    plane = (height + 2) * row
    n = (height - 1) * row + width
    planes = batch * depth * stride[0]
    for job in numba.prange(outputs // OUTPUTS * planes):
        o, z_out = job // planes * OUTPUTS, job % (depth * stride[0])
        sample = job % planes // (depth * stride[0])
        here = (sample * (depth + 2) + z_out // stride[0] + 1) * plane + row + 1
        a = np.empty((stride[2], n), np.float32)
        b = np.empty((stride[2], n), np.float32)
        for y_part in range(stride[1]):
            a[:], b[:] = 0, 0
            for t in range(len(part)):
                if part[t, 0] != z_out % stride[0] or part[t, 1] != y_part:
                    continue
                a_part, b_part = a[part[t, 2]], b[part[t, 2]]
                first = here + offset[t, 0] * plane + offset[t, 1] * row + offset[t, 2]
                for c in range(0, len(images), INPUTS):
                    x0, x1 = images[c, first : first + n], images[c + 1, first : first + n]
                    x2, x3 = images[c + 2, first : first + n], images[c + 3, first : first + n]
                    v0, v1, v2, v3 = kernels[o, t, c : c + INPUTS]
                    w0, w1, w2, w3 = kernels[o + 1, t, c : c + INPUTS]
                    for i in range(n):
                        a_part[i] += v0 * x0[i] + v1 * x1[i] + v2 * x2[i] + v3 * x3[i]
                        b_part[i] += w0 * x0[i] + w1 * x1[i] + w2 * x2[i] + w3 * x3[i]
            for y in range(height):
                a_out = out[sample, o, z_out, y * stride[1] + y_part]
                b_out = out[sample, o + 1, z_out, y * stride[1] + y_part]
                at = y * row
                if stride[2] == 2:  # written out, because it is most of the time
                    for x in range(width):
                        a_out[2 * x], a_out[2 * x + 1] = a[0, at + x], a[1, at + x]
                        b_out[2 * x], b_out[2 * x + 1] = b[0, at + x], b[1, at + x]
                else:
                    for x_part in range(stride[2]):
                        a_out[x_part :: stride[2]] = a[x_part, at : at + width]
                        b_out[x_part :: stride[2]] = b[x_part, at : at + width]
