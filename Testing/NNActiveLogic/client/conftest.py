"""Fixtures of the client's tests. `server` is what the contract tests run against."""

import os
import shutil
import ssl
import subprocess
from dataclasses import dataclass

import numpy as np
import pytest
import SimpleITK as sitk

from faulty_proxy import FaultyProxy
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.transport import Limits
from standin import Running
from testkit.live_server import LiveServer

FAST = Limits(
    connect_seconds=0.5,
    read_seconds=0.4,
    total_seconds=0.8,
    attempts=3,
    first_pause=0.01,
    longest_pause=0.02,
)


@dataclass(frozen=True)
class Server:
    """Where the contract tests run, and tokens of an admin, another annotator and a viewer."""

    url: str
    token: str
    colleague: str
    viewer: str


@pytest.fixture
def fast() -> Limits:
    return FAST


@pytest.fixture
def standin():
    running = Running()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def real_server(tmp_path_factory):
    """A real server for all contract tests."""
    with LiveServer(tmp_path_factory.mktemp("contract") / "data") as live:
        yield Server(live.url, *(live.tokens[name] for name in ("ann", "ben", "vic")))


@pytest.fixture(params=["stand-in", "real"])
def server(request):
    """The stand-in, and a real server: one that the environment names with three tokens, or our own."""
    if request.param == "stand-in":
        return Server(request.getfixturevalue("standin").url, "token-ann", "token-ben", "token-vic")
    url = os.environ.get("NNACTIVE_TEST_URL")
    if url:
        return Server(url, *os.environ["NNACTIVE_TEST_TOKENS"].split(","))
    return request.getfixturevalue("real_server")


@pytest.fixture
def connect():
    """Clients with short limits, closed at the end of the test."""
    made = []

    def make(url, token="token-ann", limits=FAST, **options):
        made.append(Client(url, token, limits=limits, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(standin, connect):
    return connect(standin.url)


@pytest.fixture
def proxy(standin):
    with FaultyProxy(standin.port) as made:
        yield made


@pytest.fixture
def image(tmp_path):
    """An image file and its voxels: int16, 12 x 20 x 24, of 3 x 1.5 x 0.5 mm."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (12, 20, 24)).astype(np.int16)
    made = sitk.GetImageFromArray(voxels)
    made.SetSpacing((0.5, 1.5, 3.0))
    made.SetOrigin((10.0, -20.0, 30.0))
    sitk.WriteImage(made, str(tmp_path / "image.nrrd"))
    return tmp_path / "image.nrrd", voxels


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Make a self-signed certificate and its key for a name, good for some days (or long past)."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates")
    folder = tmp_path_factory.mktemp("certificates")

    def make(name="IP:127.0.0.1", label="good"):
        key, crt = folder / f"{label}.key", folder / f"{label}.crt"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        )
        extension = ["-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(crt)]
        subprocess.run([*command.split(), *extension], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(crt, key)
        return context, crt

    return make
