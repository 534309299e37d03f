"""Fixtures of the presenter's tests: a clinic on the stand-in server, and a clinician at a numpy scene."""

import time

import pytest

from NNActiveLogic.client.transport import Limits
from NNActiveLogic.presenter import Presenter
from standin import Running
from testkit.clinic_standin import ClinicStandIn
from testkit.fake_scene import FakeScene

QUICK = Limits(
    connect_seconds=2.0, read_seconds=2.0, total_seconds=4.0, attempts=1, first_pause=0.01, longest_pause=0.02
)


class Memory(dict):
    """Settings of this computer."""

    def set(self, key, value):
        self[key] = value


class Clinician:
    """A presenter with its scene; `settle` lets time pass until something is so."""

    def __init__(self, url, token, folder, clock=time.monotonic, limits=QUICK, scene=None):
        self.scene = scene or FakeScene()
        self.settings = Memory()
        self.changes = 0
        self.presenter = Presenter(
            self.scene, self.settings, folder, self._changed, clock=clock, limits=limits, wait=0.2
        )
        self.url, self.token = url, token

    def _changed(self):
        self.changes += 1

    def settle(self, condition, seconds=20.0):
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.presenter.tick()
            if condition():
                return
            time.sleep(0.002)
        raise AssertionError(f"it did not become so: {self.story()}")

    def story(self):
        opened = self.presenter.opened
        if opened is None:
            return self.presenter.connection.view(), self.presenter.notice
        return opened.session.view(), self.presenter.connection.view(), opened.sending.entries

    def connect(self):
        self.presenter.connection.connect(self.url, self.token)
        self.settle(lambda: self.presenter.connection.online)
        self.presenter.connection.agree()
        return self

    def open(self, project):
        assert self.presenter.open(project).ok
        self.settle(lambda: self.presenter.opened is not None)
        return self

    @property
    def opened(self):
        return self.presenter.opened

    @property
    def session(self):
        return self.presenter.opened.session

    @property
    def here(self):
        return self.scene.view.patch.id if self.scene.view else None

    def next(self):
        assert self.session.next().ok
        self.settle(lambda: self.session.state in ("editing", "done"))
        return self.here

    def draw_and_accept(self, value=1):
        self.scene.draw(value)
        patch = self.here
        said = self.session.accept()
        assert said.ok, said
        self.settle(lambda: self.session.state in ("editing", "done") and self.here != patch)
        return patch

    def all_sent(self):
        self.settle(lambda: self.session.state != "keeping" and not self.opened.sending.entries)

    def all_loaded(self, count=2):
        """Until so many patches wait, with all that is shown of them."""
        session = self.session
        self.settle(
            lambda: (
                len(session.ahead.patches) == count
                and all(session.loader.view(one) is not None for one in session.ahead.patches)
            )
        )

    def close(self):
        self.presenter.close()


@pytest.fixture
def server():
    running = Running(ClinicStandIn())
    yield running
    running.stop()


@pytest.fixture
def clinic(server):
    return server.app


@pytest.fixture
def hire(tmp_path):
    """More clinicians, who all leave in the end."""
    made = []

    def make(url, token="token-ann", folder=None, **options):
        made.append(Clinician(url, token, folder or tmp_path / "outbox", **options))
        return made[-1]

    yield make
    for clinician in made:
        clinician.close()


@pytest.fixture
def ann(server, clinic, hire):
    return hire(server.url).connect().open(clinic.project)
