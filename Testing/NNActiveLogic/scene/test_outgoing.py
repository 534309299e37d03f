"""Volumes of the scene as files: what the server takes in is what stood in the scene."""

import gzip
import threading

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util

from harness.mrml_patches import a_case
from nnactive_server.dataset.intake.run import take_in
from NNActiveLogic.client.errors import Cancelled
from NNActiveLogic.scene import outgoing
from NNActiveLogic.scene.grid import Grid, vtk_matrix
from NNActiveLogic.work import WorkError
from testkit.directions import DIRECTIONS, TILTED

SHAPE = (5, 7, 9)


def some(dtype, shape=SHAPE):
    values = np.random.default_rng(0).normal(0, 50, shape)
    return (np.abs(values) if np.dtype(dtype).kind == "u" else values).astype(dtype)


def a_volume(values, direction=DIRECTIONS["oblique"], name="Mustermann^Max"):
    case = a_case(values.shape[:3], (4.0, 0.7291666, 1.3), (-12.5, 80.25, 3.125), tuple(np.ravel(direction)))
    matrix = vtk_matrix(Grid.of_case(case).ijk_to_ras)
    return slicer.util.addVolumeFromArray(values, matrix, name), case


def written(volume, folder):
    path = folder / "image.nrrd"
    outgoing.take(volume).write(path)
    return path


@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_the_server_gets_every_voxel_at_its_place(direction, tmp_path):
    values = some(np.int16)
    volume, case = a_volume(values, direction)
    path = written(volume, tmp_path)
    found = sitk.ReadImage(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), values)
    np.testing.assert_allclose(found.GetSpacing()[::-1], case.spacing, rtol=1e-12)
    np.testing.assert_allclose(found.GetOrigin(), case.origin, rtol=1e-12)
    np.testing.assert_allclose(found.GetDirection(), case.direction, atol=1e-12)
    taken = take_in(path, tmp_path / "taken.nii")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "taken.nii")), values)
    np.testing.assert_allclose(taken.geometry.spacing, case.spacing, rtol=1e-6)
    np.testing.assert_allclose(taken.geometry.origin, case.origin, rtol=1e-6)
    np.testing.assert_allclose(taken.geometry.direction, case.direction, atol=1e-6)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_every_type_of_voxel_keeps_its_values(dtype, tmp_path):
    values = some(dtype)
    volume, _ = a_volume(values)
    path = written(volume, tmp_path)
    found = sitk.GetArrayFromImage(sitk.ReadImage(path))
    np.testing.assert_array_equal(found, values.astype(np.float32 if dtype == "f8" else dtype))
    assert found.dtype == (np.float32 if dtype == "f8" else dtype)
    take_in(path, tmp_path / "taken.nii")


def test_the_file_holds_no_name_and_is_the_same_each_time(tmp_path):
    volume, _ = a_volume(some(np.int16))
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    volume.SetDescription("about a person")
    first = written(volume, tmp_path).read_bytes()
    header, _, packed = first.partition(b"\n\n")
    names = [line.split(b":")[0].decode() for line in header.splitlines()]
    assert names == [
        "NRRD0004", "type", "dimension", "space", "sizes", "space directions", "kinds", "endian", "encoding",
        "space origin",
    ]  # fmt: skip
    assert packed[:4] == b"\x1f\x8b\x08\x00"  # a flag here would announce a name
    assert packed[4:8] == b"\0\0\0\0"
    assert len(gzip.decompress(packed)) == volume.GetImageData().GetNumberOfPoints() * 2
    volume.SetName("another")
    assert written(volume, tmp_path).read_bytes() == first


def test_a_large_volume_goes_in_pieces_on_a_thread_that_can_be_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(outgoing, "_PIECE", 100)
    values = some(np.int16)
    volume, _ = a_volume(values)
    taken, told = outgoing.take(volume), []
    slicer.mrmlScene.RemoveNode(volume)
    path = tmp_path / "image.nrrd"
    thread = threading.Thread(target=lambda: taken.write(path, lambda *numbers: told.append(numbers)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)), values)
    assert told == [(100, 315), (200, 315), (300, 315), (315, 315)]

    def stop(done, _):
        if done >= 200:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        taken.write(path, stop)


def test_a_volume_that_changes_while_it_is_written_is_refused(tmp_path):
    volume, _ = a_volume(some(np.int16))
    taken = outgoing.take(volume)
    slicer.util.arrayFromVolume(volume)[0] = 5
    slicer.util.arrayFromVolumeModified(volume)
    with pytest.raises(WorkError, match="was changed"):
        taken.write(tmp_path / "image.nrrd")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_voxels_that_are_no_numbers_are_refused(bad, tmp_path):
    values = some(np.float64)
    values[2, 3, 4] = bad
    volume, _ = a_volume(values)
    with pytest.raises(WorkError, match="without a value"):
        outgoing.take(volume).write(tmp_path / "image.nrrd")


def refused(volume):
    assert not outgoing.usable(volume)
    with pytest.raises(WorkError) as caught:
        outgoing.take(volume)
    assert caught.value.advice
    return caught.value.what


def test_what_is_no_image_is_refused(scene):
    assert refused(None) == "No image volume is chosen."
    assert refused(scene.AddNewNodeByClass("vtkMRMLSegmentationNode")) == "No image volume is chosen."
    assert "has no voxels" in refused(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    labels = slicer.util.addVolumeFromArray(
        some(np.uint8), name="labels", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    assert "holds labels" in refused(labels)
    colours = slicer.util.addVolumeFromArray(
        some(np.uint8, (4, 5, 6, 3)), name="photo", nodeClassName="vtkMRMLVectorVolumeNode"
    )
    assert "'photo' has 3 values in each voxel" in refused(colours)


def test_one_time_of_a_sequence_is_refused(scene):
    volume, _ = a_volume(some(np.int16), name="beating heart")
    assert outgoing.usable(volume)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode")
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(volume, sequence, False)
    assert "'beating heart' is one time of a sequence" in refused(volume)


def test_a_volume_under_a_transform_is_refused(scene):
    volume, _ = a_volume(some(np.int16), name="moving")
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert "'moving' is under the transform 'registration'" in refused(volume)


def test_slices_of_a_tilted_gantry_are_refused(tmp_path):
    skew = np.eye(3)
    skew[1, 2] = 0.1
    volume, _ = a_volume(some(np.int16), skew, "head")
    assert "not stacked at right angles" in refused(volume)
    rounded = np.round(TILTED, 5)
    volume, _ = a_volume(some(np.int16), rounded)
    take_in(written(volume, tmp_path), tmp_path / "taken.nii")


def test_channels_have_the_same_voxels():
    first, _ = a_volume(some(np.int16), name="T1")
    second, _ = a_volume(some(np.float32), name="T2")
    assert [one.name for one in outgoing.take_channels((first, second))] == ["T1", "T2"]
    second.SetOrigin(0, 0, 0)
    with pytest.raises(WorkError, match="'T2' does not have the same voxels as 'T1'"):
        outgoing.take_channels((first, second))


def test_taking_copies_nothing():
    volume, _ = a_volume(some(np.int16))
    assert np.shares_memory(outgoing.take(volume).values, slicer.util.arrayFromVolume(volume))
