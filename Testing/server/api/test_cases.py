"""Cases and uploads: images come in whole, stripped of names, once."""

import hashlib
import shutil

import numpy as np
import pytest
import requests
import SimpleITK as sitk

from nnactive_server.dataset import RawDataset
from nnactive_server.store import Store
from NNActiveLogic.client.errors import Conflict, Forbidden, NotFoundOnServer, Refused
from NNActiveLogic.client.values import Box, Label
from testkit.small_case import make_image

PATIENT = b"Doe^Jane"


def send(live, content, **headers):
    """Upload bytes in one piece by hand; the last reply."""
    sha256 = hashlib.sha256(content).hexdigest()
    begun = live.call("POST", "/v1/uploads", json={"sha256": sha256, "size": len(content)}).json()
    given = {
        "Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}",
        "NNActive-Chunk-SHA256": sha256,
        **headers,
    }
    return begun, live.call("PUT", f"/v1/uploads/{begun['id']}", data=content, headers=given)


def test_an_upload_is_told_how_large_its_pieces_may_be(live):
    begun = live.call("POST", "/v1/uploads", json={"sha256": "0" * 64, "size": 10**7}).json()
    assert 0 < begun["chunk_bytes"] <= 4 << 20
    assert (begun["received"], begun["done"]) == (0, False)


def test_a_broken_upload_goes_on_where_it_stopped(live):
    content = np.random.default_rng(1).bytes(5000)
    sha256 = hashlib.sha256(content).hexdigest()
    begun = live.call("POST", "/v1/uploads", json={"sha256": sha256, "size": 5000}).json()

    def piece(first, end):
        part = content[first:end]
        headers = {
            "Content-Range": f"bytes {first}-{end - 1}/5000",
            "NNActive-Chunk-SHA256": hashlib.sha256(part).hexdigest(),
        }
        return live.call("PUT", f"/v1/uploads/{begun['id']}", data=part, headers=headers)

    assert piece(0, 2000).json() == {**begun, "received": 2000, "done": False}
    assert piece(3000, 4000).json()["received"] == 2000  # the 409 says where to go on
    again = live.call("POST", "/v1/uploads", json={"sha256": sha256, "size": 5000}).json()
    assert (again["id"], again["received"]) == (begun["id"], 2000)
    assert piece(2000, 5000).json()["done"]
    reply = live.call("HEAD", f"/v1/blobs/{sha256}")
    assert (reply.status_code, reply.headers["Content-Length"]) == (200, "5000")
    assert live.call("POST", "/v1/uploads", json={"sha256": sha256, "size": 5000}).json()["done"]


def test_a_damaged_piece_is_refused(live):
    _, reply = send(live, b"x" * 100, **{"NNActive-Chunk-SHA256": "0" * 64})
    assert reply.status_code == 422


@pytest.mark.parametrize("text", ["bytes 0-1/100", "bytes 5-4/100", "lines 0-99/100", "bytes */100", ""])
def test_a_range_that_does_not_fit_the_piece_is_refused(live, text):
    _, reply = send(live, b"y" * 100, **{"Content-Range": text})
    assert reply.status_code == 422


def test_a_file_of_another_content_than_announced_is_not_kept(live):
    begun = live.call("POST", "/v1/uploads", json={"sha256": "1" * 64, "size": 4}).json()
    headers = {"Content-Range": "bytes 0-3/4", "NNActive-Chunk-SHA256": hashlib.sha256(b"abcd").hexdigest()}
    assert live.call("PUT", f"/v1/uploads/{begun['id']}", data=b"abcd", headers=headers).status_code == 422
    assert live.call("HEAD", f"/v1/blobs/{'1' * 64}").status_code == 404


def test_a_piece_that_breaks_off_counts_for_nothing(live):
    content = b"z" * 1000
    sha256 = hashlib.sha256(content).hexdigest()
    begun = live.call("POST", "/v1/uploads", json={"sha256": sha256, "size": 1000}).json()

    def broken():
        yield content[:500]
        raise ConnectionError("the cable")

    with pytest.raises((ConnectionError, requests.ConnectionError)):
        live.call(
            "PUT",
            f"/v1/uploads/{begun['id']}",
            data=broken(),
            headers={"Content-Range": "bytes 0-999/1000", "NNActive-Chunk-SHA256": sha256},
        )
    again = live.call("POST", "/v1/uploads", json={"sha256": sha256, "size": 1000}).json()
    assert again["received"] == 0


@pytest.mark.parametrize("size", [0, -1, 1 << 60, 1.5, "9"])
def test_impossible_sizes_are_refused(live, size):
    reply = live.call("POST", "/v1/uploads", json={"sha256": "2" * 64, "size": size})
    assert reply.status_code in (413, 422, 507)


def test_nobody_sends_a_file_twice(ann, ben, project, image):
    first = ann.add_case(project.id, [ann.upload(image[0])], "one")
    sent = []
    ben.upload(image[0], progress=lambda done, _: sent.append(done))
    assert len(sent) <= 1  # only told that all is there
    second = ben.add_case(project.id, [ben.upload(image[0])], "two")
    np.testing.assert_array_equal(ann.image(first.id).values, ann.image(second.id).values)


def test_a_case_without_a_name_gets_one_that_says_nothing(ann, project, tmp_path):
    make_image(tmp_path / "Doe_Jane_19550101.nrrd", seed=7)
    made = [ann.add_case(project.id, [ann.upload(tmp_path / "Doe_Jane_19550101.nrrd")]) for _ in range(2)]
    assert [one.name for one in made] == ["case-0001", "case-0002"]


@pytest.mark.parametrize("name", ["../up", "a b", "", "x" * 65, ".hidden", "con", "a/b", "\u00e9"])
def test_names_that_cannot_be_file_names_are_refused(live, ann, project, image, name):
    body = {"channels": [ann.upload(image[0])], "name": name}
    assert live.call("POST", f"/v1/projects/{project.id}/cases", json=body).status_code == 422


def test_a_name_is_used_once_in_a_project(ann, project, image):
    ann.add_case(project.id, [ann.upload(image[0])], "one")
    with pytest.raises(Conflict):
        ann.add_case(project.id, [ann.upload(image[0])], "ONE")


def test_nothing_of_a_header_survives(live, ann, project, tmp_path):
    path = tmp_path / "image.nrrd"
    made = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    made.SetMetaData("patient", PATIENT.decode())
    sitk.WriteImage(made, str(path))
    assert PATIENT in path.read_bytes()
    ann.add_case(project.id, [ann.upload(path)])
    kept = [one for one in live.data.rglob("*") if one.is_file() and PATIENT in one.read_bytes()]
    assert kept == []


def test_a_case_of_several_channels_needs_them_all_on_one_grid(ann, tmp_path):
    project = ann.create_project(f"two-{tmp_path.name}", [Label("a")], ["T1", "T2"])
    one = make_image(tmp_path / "1.nrrd", 1)
    two = make_image(tmp_path / "2.nrrd", 2)
    make_image(tmp_path / "3.nrrd", 3, (5, 6, 7))
    first, second, other = (ann.upload(tmp_path / f"{n}.nrrd") for n in (1, 2, 3))
    for wrong in ([first], [first, second, other], [first, other]):
        with pytest.raises(Refused):
            ann.add_case(project.id, wrong)
    made = ann.add_case(project.id, [first, second])
    np.testing.assert_array_equal(ann.image(made.id, 0).values, one)
    np.testing.assert_array_equal(ann.image(made.id, 1).values, two)
    with pytest.raises(NotFoundOnServer):
        ann.image(made.id, 2)


@pytest.mark.parametrize("content", [b"not an image", b"\x80\x04\x95pickle", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_image_is_refused_in_words(ann, project, tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(Refused) as refused:
        ann.add_case(project.id, [ann.upload(tmp_path / "x")])
    assert refused.value.code == "unusable-image"
    assert "/" not in str(refused.value)  # no path of the server
    assert ann.cases(project.id) == ()


def test_a_file_that_was_never_sent_makes_no_case(ann, project):
    with pytest.raises(Refused, match="upload"):
        ann.add_case(project.id, ["3" * 64])


def test_a_file_on_the_server_becomes_a_case_only_below_an_allowed_folder(live, ann, project, tmp_path):
    voxels = make_image(live.shelf / "scan.nrrd", 11)
    made = ann.add_case_on_server(project.id, str(live.shelf / "scan.nrrd"))
    np.testing.assert_array_equal(ann.image(made.id).values, voxels)
    make_image(tmp_path / "secret.nrrd")
    (live.shelf / "link.nrrd").unlink(missing_ok=True)
    (live.shelf / "link.nrrd").symlink_to(tmp_path / "secret.nrrd")
    for path in (
        "/etc/passwd",
        str(tmp_path / "secret.nrrd"),
        str(live.shelf / "link.nrrd"),
        f"{live.shelf}/../x",
        "x",
    ):
        with pytest.raises((Forbidden, NotFoundOnServer)):
            ann.add_case_on_server(project.id, path)
    (live.shelf / "link.nrrd").unlink()


def wait_for(client, job, seconds=60):
    seen = client.events(0).last
    while not (found := client.job(job)).finished:
        seen = client.events(seen, wait=min(5, seconds)).last
    return found


def test_a_folder_on_the_server_is_imported_by_a_job(live, ann, project):
    folder = live.shelf / "many"
    folder.mkdir()
    for number in range(3):
        make_image(folder / f"Patient_{number}.nrrd", number)
    reply = live.call("POST", f"/v1/projects/{project.id}/folder", json={"server_path": str(folder)})
    assert reply.status_code == 202
    done = wait_for(ann, reply.json()["id"])
    assert done.state == "succeeded", done.error
    assert [case.name for case in ann.cases(project.id)] == ["case-0001", "case-0002", "case-0003"]
    again = live.call("POST", f"/v1/projects/{project.id}/folder", json={"server_path": str(folder)}).json()
    assert wait_for(ann, again["id"]).state == "succeeded"
    assert len(ann.cases(project.id)) == 3  # none is added twice
    shutil.rmtree(folder)


def test_a_project_is_a_plain_folder_in_nnunets_layout(live, ann, project, image):
    case = ann.add_case(project.id, [ann.upload(image[0])])
    root = live.data / "projects" / project.id
    for _ in range(600):
        if (root / "imagesTr" / f"{case.name}_0000.nii").exists() and (root / "dataset.json").exists():
            break
        ann.events(10**9, wait=0.1)
    dataset = RawDataset.open(root)
    assert dataset.cases == (case.name,)
    assert dataset.labels.classes == ("organ", "lesion")
    assert dataset.labels.partial
    np.testing.assert_array_equal(dataset.read_image(case.name).array[0], image[1])


def test_the_store_names_no_missing_file_after_all_this(live):
    with Store(live.data) as store:
        assert store.check() == []


def test_a_box_of_the_case_is_that_part(ann, case, image):
    box = Box((3, 4, 5), (2, 3, 4))
    got = ann.image(case.id, box=box)
    np.testing.assert_array_equal(got.values, image[1][3:5, 4:7, 5:9])
    assert got.info.start == (3, 4, 5)
