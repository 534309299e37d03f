"""Arrays on disk, read in boxes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnactive_server.core.voxels import NotStored, VoxelsError, open_voxels, save_voxels, write_voxels

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from nnactive_server.core.voxels import VoxelsError, save_voxels, write_voxels
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
noise = np.random.default_rng(0).normal(size=(64, 128, 128)).astype(np.float16)
try:
    if sys.argv[2] == "whole":
        save_voxels(path, noise)
    with write_voxels(path, noise.shape, noise.dtype, 0, 64) as writer:
        writer.write([slice(0, n) for n in noise.shape], noise)
except VoxelsError as problem:
    print(problem)
"""


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """Larger than a chunk on every axis."""
    return np.random.default_rng(0).normal(size=(37, 140, 131)).astype(np.float16)


@pytest.fixture(scope="module")
def stored(noise, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "noise.b2nd"
    save_voxels(path, noise)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 300), (33, 129, 140), (3, 9, 70, 65)])
def test_arrays_come_back_as_they_were(tmp_path, dtype, shape):
    array = np.random.default_rng(1).normal(50, 20, shape).astype(dtype)
    path = tmp_path / "new" / "a.b2nd"
    save_voxels(path, array)
    read = open_voxels(path)
    assert (read.shape, read.dtype, read.path) == (shape, np.dtype(dtype), path)
    np.testing.assert_array_equal(read.array(), array)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.b2nd"]


@pytest.mark.parametrize(
    "turn", [np.asfortranarray, lambda a: a[::-1, :, ::2], lambda a: a.transpose(2, 0, 1)]
)
def test_the_order_in_memory_does_not_matter(tmp_path, noise, turn):
    save_voxels(tmp_path / "a.b2nd", turn(noise))
    np.testing.assert_array_equal(open_voxels(tmp_path / "a.b2nd").array(), turn(noise))


@pytest.mark.parametrize("cut", [0, 1, 2])
@pytest.mark.parametrize("thickness", [1, 7, 32])
def test_an_array_written_in_slabs_comes_back_as_it_was(tmp_path, cut, thickness):
    array = np.random.default_rng(3).normal(size=(2, 37, 40, 35)).astype(np.float16)
    path = tmp_path / "a.b2nd"
    with write_voxels(path, array.shape, array.dtype, cut, thickness) as writer:
        for start in range(0, array.shape[cut + 1], thickness):
            box = [slice(0, length) for length in array.shape]
            box[cut + 1] = slice(start, min(start + thickness, array.shape[cut + 1]))
            writer.write(box, array[tuple(box)].copy(order="F"))
        assert not path.exists()
    assert (open_voxels(path).shape, open_voxels(path).dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(open_voxels(path).array(), array)
    np.testing.assert_array_equal(open_voxels(path).read([slice(3, 9)] * 4), array[(slice(3, 9),) * 4])
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.b2nd"]


def test_slabs_take_no_more_room_than_the_whole_array(tmp_path, noise, stored):
    with write_voxels(tmp_path / "a.b2nd", noise.shape, noise.dtype, 0, 32) as writer:
        for start in (0, 32):
            box = (slice(start, min(start + 32, 37)), slice(0, 140), slice(0, 131))
            writer.write(box, noise[box])
    assert (tmp_path / "a.b2nd").stat().st_size < 1.01 * stored.stat().st_size


def test_a_file_whose_slabs_were_interrupted_is_not_there(tmp_path, noise):
    box = (slice(0, 8), slice(0, 140), slice(0, 131))

    def stop() -> None:
        with write_voxels(tmp_path / "a.b2nd", noise.shape, noise.dtype, 0, 8) as writer:
            writer.write(box, noise[box])
            raise KeyError("stop")

    with pytest.raises(KeyError):
        stop()
    assert not list(tmp_path.iterdir())


def test_what_goes_wrong_between_slabs_is_not_blamed_on_the_disk(tmp_path, noise):
    with (
        pytest.raises(RuntimeError, match=r"^out of memory$"),
        write_voxels(tmp_path / "a.b2nd", noise.shape, noise.dtype, 0, 8),
    ):
        raise RuntimeError("out of memory")


def test_damage_in_a_slab_is_found(tmp_path, noise):
    path = tmp_path / "a.b2nd"
    with write_voxels(path, noise.shape, noise.dtype, 0, 37) as writer:
        writer.write([slice(0, length) for length in noise.shape], noise)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(VoxelsError, match="not readable"):
        open_voxels(path).array()


def axis(length: int) -> st.SearchStrategy[slice]:
    bounds = st.integers(-length - 3, length + 3)
    return st.builds(slice, bounds | st.none(), bounds | st.none())


@settings(deadline=None, max_examples=60)
@given(box=st.tuples(axis(37), axis(140), axis(131)))
def test_a_box_is_what_numpy_would_give(stored, noise, box):
    np.testing.assert_array_equal(open_voxels(stored).read(box), noise[box])


def test_a_box_of_one_class_is_read_from_four_axes(tmp_path):
    array = np.random.default_rng(2).random((3, 9, 70, 65)).astype(np.float16)
    save_voxels(tmp_path / "a.b2nd", array)
    box = (slice(1, 2), slice(2, 8), slice(60, 70), slice(0, 65))
    np.testing.assert_array_equal(open_voxels(tmp_path / "a.b2nd").read(box), array[box])


def test_boxes_with_gaps_or_too_few_axes_are_refused(stored):
    with pytest.raises(ValueError, match="step 1"):
        open_voxels(stored).read((slice(0, 4, 2), slice(3), slice(3)))
    with pytest.raises(ValueError, match="longer than"):
        open_voxels(stored).read((slice(3), slice(3)))


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4)])
def test_arrays_without_voxels_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="no voxels"):
        save_voxels(tmp_path / "a.b2nd", np.zeros(shape))
    assert not list(tmp_path.iterdir())


def test_any_blosc2_reads_the_file(stored, noise):
    np.testing.assert_array_equal(blosc2.open(str(stored), mode="r")[:], noise)


def test_a_plain_map_takes_almost_no_space(tmp_path):
    save_voxels(tmp_path / "a.b2nd", np.zeros((64, 128, 128), np.uint8))
    assert (tmp_path / "a.b2nd").stat().st_size < 2000


def test_what_is_not_there_is_told_apart_from_what_is_damaged(tmp_path, stored):
    for path in (tmp_path / "none.b2nd", tmp_path / "no" / "folder.b2nd", stored / "below.b2nd"):
        with pytest.raises(NotStored, match=path.name):
            open_voxels(path)
    (tmp_path / "text.b2nd").write_text("no array")
    (tmp_path / "empty.b2nd").touch()
    for name in ("text.b2nd", "empty.b2nd"):
        with pytest.raises(VoxelsError, match=rf"{name}: not readable") as caught:
            open_voxels(tmp_path / name)
        assert not isinstance(caught.value, NotStored)


def test_a_file_without_checksums_is_not_ours(tmp_path):
    blosc2.asarray(np.zeros((3, 4, 5)), urlpath=str(tmp_path / "a.b2nd"), mode="w")
    with pytest.raises(VoxelsError, match=r"a\.b2nd: not readable"):
        open_voxels(tmp_path / "a.b2nd")


@pytest.mark.parametrize("seed", range(60))
def test_damage_is_told_and_never_read(stored, tmp_path, seed):
    whole, rng = bytearray(stored.read_bytes()), random.Random(seed)
    place = rng.randrange(len(whole))
    match seed % 4:
        case 0:
            del whole[place:]
        case 1:
            whole[place] ^= 1 << rng.randrange(8)
        case 2:
            whole[rng.randrange(400)] ^= 1 << rng.randrange(8)
        case 3:
            whole[place : place + 4096] = bytes(min(4096, len(whole) - place))
    path = tmp_path / "damaged.b2nd"
    path.write_bytes(whole)
    with pytest.raises(VoxelsError, match=r"damaged\.b2nd: not readable"):
        open_voxels(path).array()


def test_damage_outside_a_box_does_not_matter(stored, noise, tmp_path):
    whole = bytearray(stored.read_bytes())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "a.b2nd").write_bytes(whole)
    read = open_voxels(tmp_path / "a.b2nd")
    corner = (slice(-4, None), slice(-9, None), slice(-2, None))
    np.testing.assert_array_equal(read.read(corner), noise[corner])
    with pytest.raises(VoxelsError, match=r"chunk \d has another checksum"):
        read.array()


def test_what_is_open_is_read_to_the_end_though_it_was_removed_or_replaced(stored, noise, tmp_path):
    path = tmp_path / "maps" / "a.b2nd"
    path.parent.mkdir()
    shutil.copyfile(stored, path)
    first = open_voxels(path)
    save_voxels(path, np.zeros((2, 2, 2)))
    second = open_voxels(path)
    shutil.rmtree(path.parent)
    np.testing.assert_array_equal(first.array(), noise)
    np.testing.assert_array_equal(second.array(), np.zeros((2, 2, 2)))


@pytest.mark.parametrize("way", ["whole", "slabs"])
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, way):
    path = tmp_path / "a.b2nd"
    save_voxels(path, np.ones((2, 2, 2)))
    code = [sys.executable, "-c", FULL_DISK, path, way]
    said = subprocess.run(code, capture_output=True, text=True, check=True)
    assert "a.b2nd: not written; is the disk full?" in said.stdout
    assert list(tmp_path.iterdir()) == [path]
    assert open_voxels(path).array().all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_of_a_process_that_has_read_can_read_and_write(stored, noise, tmp_path):
    code = f"""
import os, numpy as np
from pathlib import Path
from nnactive_server.core.voxels import open_voxels, save_voxels
whole = open_voxels(Path({str(stored)!r})).array()
child = os.fork()
if not child:
    save_voxels(Path({str(tmp_path)!r}) / "a.b2nd", open_voxels(Path({str(stored)!r})).array())
    os._exit(0)
os.waitpid(child, 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    np.testing.assert_array_equal(open_voxels(tmp_path / "a.b2nd").array(), noise)


def test_nothing_large_is_imported_until_a_map_is_read():
    code = """
import sys
import nnactive_server.core.mapfiles
print([name for name in ("blosc2", "SimpleITK", "torch", "scipy") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
