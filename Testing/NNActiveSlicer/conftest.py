"""One application for the process; each test begins with an empty scene, no settings and no open module."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import qt_start

MODULE = Path(__file__).resolve().parents[2] / "NNActiveSlicer" / "NNActiveSlicer.py"


@pytest.fixture(scope="session")
def slicer_application():
    """qt, ctk and slicer's widgets in place; skips where Qt or Slicer's libraries are missing."""
    reason = qt_start.why_not()
    if reason:
        pytest.skip(reason)
    return qt_start.application()


@pytest.fixture
def load_module(slicer_application):
    """`load_module(path)` opens a scripted module as the application does and gives a Host."""
    from harness import slicer_app_host

    with slicer_app_host.session() as load:
        yield load


@pytest.fixture
def views(slicer_application):
    """Red, Yellow, Green and 3D, drawn off screen; skips where nothing can be drawn."""
    from harness import views as harness_views

    reason = harness_views.why_not()
    if reason:
        pytest.skip(reason)
    return harness_views.shared()


@pytest.fixture
def make_window(views):
    """`make_window(host, size)` puts a module's panel and the views into one window, for a picture of all."""
    from harness import pictures
    from harness.slicer_app_layout import show_views

    yield lambda host, size=pictures.SIZE: pictures.Window(host, views, size)
    show_views(None)


@pytest.fixture
def steps(slicer_application):
    """What a person does: click, type, press keys."""
    from harness import qt_steps

    return qt_steps


@pytest.fixture
def home(slicer_application, tmp_path, monkeypatch):
    """The user's own files, where unsent answers wait; empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def module_file():
    """The module's file."""
    return MODULE


@pytest.fixture
def nnactive(load_module, home, module_file):
    """The module NNActive, entered and shown, with nothing in it."""
    host = load_module(module_file)
    host.enter()
    return host


@pytest.fixture
def server():
    """A running stand-in clinic with a model and six open patches in two cases."""
    from standin import Running
    from testkit.clinic_standin import ClinicStandIn

    app = ClinicStandIn()
    app.versions.append("cycle-000")
    app.model = "cycle-000"
    running = Running(app)
    yield running
    running.stop()


@pytest.fixture
def clinic(server):
    return server.app


@pytest.fixture
def reader(nnactive, server, clinic):
    """A radiologist who has connected and opened the project."""
    from testkit.reader import Reader

    return Reader(nnactive, server).connect().open(clinic.project)
