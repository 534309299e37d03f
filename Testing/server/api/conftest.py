"""Fixtures of the server's tests: one real server for a file, a project, a case, a patch."""

import uuid

import pytest

from NNActiveLogic.client.api import Client
from NNActiveLogic.client.transport import Limits
from NNActiveLogic.client.values import Label
from testkit.live_server import LiveServer
from testkit.small_case import BOX, make_image

PATIENT = Limits(connect_seconds=5, read_seconds=30, total_seconds=60, attempts=1)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A running server."""
    folder = tmp_path_factory.mktemp("server")
    shelf = folder / "shelf"
    shelf.mkdir()
    server = LiveServer(folder / "data", ["--import-root", str(shelf)])
    server.shelf = shelf
    with server:
        yield server


@pytest.fixture(scope="module")
def people(live):
    """A client for each of the people."""
    made = {name: Client(live.url, token, limits=PATIENT) for name, token in live.tokens.items()}
    yield made
    for client in made.values():
        client.close()


@pytest.fixture(scope="module")
def ann(people):
    return people["ann"]


@pytest.fixture(scope="module")
def ben(people):
    return people["ben"]


@pytest.fixture
def project(ann):
    """A project of its own for each test."""
    return ann.create_project(
        f"p-{uuid.uuid4().hex[:8]}", [Label("organ", "#ff0000"), Label("lesion")], ["CT"]
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An image file and its voxels: int16, 12 x 20 x 24, of 3 x 1.5 x 0.5 mm."""
    path = tmp_path_factory.mktemp("images") / "image.nrrd"
    return path, make_image(path)


@pytest.fixture
def case(ann, project, image):
    return ann.add_case(project.id, [ann.upload(image[0])])


@pytest.fixture
def patch(ann, project, case):
    return ann.place_patch(project.id, case.id, BOX)
