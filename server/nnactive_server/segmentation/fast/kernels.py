"""The loops of 3x3x3 convolutions of few channels and of the gradient of their weights.

oneDNN computes that gradient as a matrix product with a tiny result (8 x 16 x 27 numbers from 65536 voxels),
at a fifth of the speed of its other work; and for eight channels it spends much of its time on reordering.
Here images are padded by a voxel and laid out flat, so that a neighbour is a fixed offset: the inner loops
run over consecutive memory, and twelve products share seven loads.
"""

from __future__ import annotations

import functools
import math

import numba
import numpy as np
import torch

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.patch import Index3
from nnactive_server.segmentation.fast.compiled import SUMS, compiled, room, share_threads

ROWS = 4
"""Output channels whose sums are formed together."""

_BLOCK = 1024
"""Voxels a pass works on: seven rows of them stay in the first cache."""


def weight_gradient(image: torch.Tensor, gradient: torch.Tensor, stride: Index3 = (1, 1, 1)) -> torch.Tensor:
    """Gradient of the weights of a convolution with kernel 3, padding 1, without groups.

    dW[o, c, k] = sum over samples and voxels v of gradient[o, v] * image[c, stride * v + k - 1]; beyond its
    border the image is 0.
    The order of the sums, and so the result, does not depend on the number of threads.

    Args:
        image: input of the convolution (B, C, z, y, x), float32 on the CPU.
        gradient: of its output (B, O, z / stride, ...), float32; O a multiple of `ROWS`.
        stride: 1 or 2 along each of z, y, x; must divide the image.

    Returns:
        (O, C, 3, 3, 3) float32.

    Raises:
        SegmentationError: another type or shape; the compiled loop reads memory unchecked.
    """
    batch, outputs = gradient.shape[:2]
    wrong_type = {image.dtype, gradient.dtype} != {torch.float32} or image.device.type != "cpu"
    grid = tuple(n * step for n, step in zip(gradient.shape[2:], stride, strict=True))
    if wrong_type or image.shape[2:] != grid or len(image) != batch or outputs % ROWS:
        raise SegmentationError(
            f"weight gradient of {tuple(image.shape)} {image.dtype} and {tuple(gradient.shape)} "
            f"{gradient.dtype} at stride {stride}: float32, fitting grids and a multiple of {ROWS} outputs "
            "are needed"
        )
    row = gradient.shape[4] + 2
    strides = np.array([(gradient.shape[3] + 2) * row, row, 1])
    part, offset = taps((3, 3, 3), stride, 1)
    share_threads()
    sums = _sums(
        padded_parts(image, "image", stride),
        padded(gradient, "gradient"),
        np.ravel_multi_index(tuple(part.T), stride),
        offset @ strides,
        int(strides.sum()),
    )
    return torch.from_numpy(sums).view(outputs, image.shape[1], 3, 3, 3)


def convolve(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Convolution with kernel 3, stride 1, padding 1, without bias and groups.

    The result does not depend on the number of threads.

    Args:
        image: (B, C, z, y, x), float32 on the CPU.
        weight: (O, C, 3, 3, 3), float32; O a multiple of `ROWS`.

    Returns:
        (B, O, z, y, x) float32.

    Raises:
        SegmentationError: another type or shape; the compiled loop reads memory unchecked.
    """
    wrong_type = {image.dtype, weight.dtype} != {torch.float32} or image.device.type != "cpu"
    if wrong_type or weight.shape[1:] != (image.shape[1], 3, 3, 3) or len(weight) % ROWS:
        raise SegmentationError(
            f"convolution of {tuple(image.shape)} {image.dtype} with {tuple(weight.shape)} {weight.dtype}: "
            f"float32, equal channels and a multiple of {ROWS} outputs are needed"
        )
    share_threads()
    kernels = weight.detach().reshape(*weight.shape[:2], 27).contiguous().numpy()
    out = torch.empty((len(image), len(weight), *image.shape[2:]))
    _products(padded(image, "image"), kernels, out.numpy())
    return out


def padded(images: torch.Tensor, name: str) -> np.ndarray:
    """Images (B, C, z, y, x) with one voxel of 0 around each, as rows (C, B * (z+2) * (y+2) * (x+2)).

    They are valid until this thread asks for the same name again.
    """
    rows: np.ndarray = padded_parts(images, name, (1, 1, 1))[0]
    return rows


def padded_parts(images: torch.Tensor, name: str, stride: Index3) -> np.ndarray:
    """The same of each part of images that a stride divides them into, (parts, C, n).

    The voxels of a part are as far from each other as the stride; its number is that of its first voxel among
    the `stride` voxels of a corner, in C order.
    """
    batch, channels, *whole = images.shape
    grid = [n // step for n, step in zip(whole, stride, strict=True)]
    rows = room(name, (math.prod(stride), channels, batch * math.prod(n + 2 for n in grid)))
    values = images.detach().contiguous().numpy()
    for part, (z, y, x) in zip(rows, np.ndindex(*stride), strict=True):
        _pad(values[:, :, z :: stride[0], y :: stride[1], x :: stride[2]], part)
    return rows


@functools.cache
def taps(kernel: tuple[int, ...], stride: Index3, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the weights of a kernel, in C order, meet the image of a convolution.

    Output v and weight k meet at voxel stride * v + k - padding: of one part of the image, as in
    `padded_parts`, so many voxels further than v.

    Returns:
        The part, as its first voxel (z, y, x), and the offset in it, both (weights, 3).
    """
    weights = np.array(list(np.ndindex(*kernel)))
    offset, part = np.divmod(weights - padding, stride)
    offset.flags.writeable = part.flags.writeable = False
    return part, offset


@compiled()
def _pad(images: np.ndarray, out: np.ndarray) -> None:
    """Fill the rows of `padded`."""
    batch, channels, depth, height, width = images.shape
    plane = (height + 2) * (width + 2)
    length = (depth + 2) * plane
    for job in numba.prange(channels * batch):
        channel, sample = job // batch, job % batch
        row = out[channel, sample * length : (sample + 1) * length]
        row[: plane + width + 3] = 0
        at = plane + width + 3
        for z in range(depth):
            for y in range(height):
                row[at : at + width] = images[sample, channel, z, y]
                row[at + width : at + width + 2] = 0
                at += width + 2
            row[at : at + 2 * width + 4] = 0
            at += 2 * width + 4
        row[length - plane :] = 0


@compiled(fastmath=SUMS)
def _sums(
    images: np.ndarray, gradients: np.ndarray, part: np.ndarray, shift: np.ndarray, margin: int
) -> np.ndarray:
    """Sums (O, C, 27) of products of padded rows (O, n) and padded rows (parts, C, n).

    Weight k meets the part `part[k]`, moved by `shift[k]` voxels, at most `margin`.
    """
    channels, length = images.shape[1:]
    outputs = gradients.shape[0]
    out = np.zeros((outputs, channels, 27), np.float32)
    for job in numba.prange(outputs // ROWS * channels):
        o, c = job // channels * ROWS, job % channels
        for start in range(margin, length - margin, _BLOCK):
            stop = min(start + _BLOCK, length - margin)
            n = stop - start
            g0, g1 = gradients[o, start:stop], gradients[o + 1, start:stop]
            g2, g3 = gradients[o + 2, start:stop], gradients[o + 3, start:stop]
            for k in range(0, 27, 3):
                first0, first1, first2 = start + shift[k], start + shift[k + 1], start + shift[k + 2]
                x0 = images[part[k], c, first0 : first0 + n]
                x1 = images[part[k + 1], c, first1 : first1 + n]
                x2 = images[part[k + 2], c, first2 : first2 + n]
                s00 = s01 = s02 = s10 = s11 = s12 = np.float32(0)
                s20 = s21 = s22 = s30 = s31 = s32 = np.float32(0)
                for i in range(n):
                    before, here, after = x0[i], x1[i], x2[i]
                    s00 += g0[i] * before
                    s01 += g0[i] * here
                    s02 += g0[i] * after
                    s10 += g1[i] * before
                    s11 += g1[i] * here
                    s12 += g1[i] * after
                    s20 += g2[i] * before
                    s21 += g2[i] * here
                    s22 += g2[i] * after
                    s30 += g3[i] * before
                    s31 += g3[i] * here
                    s32 += g3[i] * after
                out[o, c, k] += s00
                out[o, c, k + 1] += s01
                out[o, c, k + 2] += s02
                out[o + 1, c, k] += s10
                out[o + 1, c, k + 1] += s11
                out[o + 1, c, k + 2] += s12
                out[o + 2, c, k] += s20
                out[o + 2, c, k + 1] += s21
                out[o + 2, c, k + 2] += s22
                out[o + 3, c, k] += s30
                out[o + 3, c, k + 1] += s31
                out[o + 3, c, k + 2] += s32
    return out


@compiled(fastmath=SUMS)
def _products(images: np.ndarray, kernels: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` (B, O, z, y, x) with the convolution of padded rows (C, n) with kernels (O, C, 27)."""
    batch, outputs, depth, height, width = out.shape
    channels = len(images)
    row = width + 2
    plane = (height + 2) * row
    n = (height - 1) * row + width
    for job in numba.prange(outputs // ROWS * batch * depth):
        o, sample, z = job // (batch * depth) * ROWS, job // depth % batch, job % depth
        a0, a1 = np.zeros(n, np.float32), np.zeros(n, np.float32)
        a2, a3 = np.zeros(n, np.float32), np.zeros(n, np.float32)
        here = (sample * (depth + 2) + z + 1) * plane + row + 1
        for c in range(channels):
            for line in range(9):
                first = here + (line // 3 - 1) * plane + (line % 3 - 1) * row
                x0, x1 = images[c, first - 1 : first - 1 + n], images[c, first : first + n]
                x2 = images[c, first + 1 : first + 1 + n]
                k = 3 * line
                w00, w01, w02 = kernels[o, c, k], kernels[o, c, k + 1], kernels[o, c, k + 2]
                w10, w11, w12 = kernels[o + 1, c, k], kernels[o + 1, c, k + 1], kernels[o + 1, c, k + 2]
                w20, w21, w22 = kernels[o + 2, c, k], kernels[o + 2, c, k + 1], kernels[o + 2, c, k + 2]
                w30, w31, w32 = kernels[o + 3, c, k], kernels[o + 3, c, k + 1], kernels[o + 3, c, k + 2]
                for i in range(n):
                    a0[i] += w00 * x0[i] + w01 * x1[i] + w02 * x2[i]
                    a1[i] += w10 * x0[i] + w11 * x1[i] + w12 * x2[i]
                    a2[i] += w20 * x0[i] + w21 * x1[i] + w22 * x2[i]
                    a3[i] += w30 * x0[i] + w31 * x1[i] + w32 * x2[i]
        for y in range(height):
            at = y * row
            out[sample, o, z, y] = a0[at : at + width]
            out[sample, o + 1, z, y] = a1[at : at + width]
            out[sample, o + 2, z, y] = a2[at : at + width]
            out[sample, o + 3, z, y] = a3[at : at + width]
