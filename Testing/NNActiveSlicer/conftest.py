"""One application for the process; each test begins with an empty scene, no settings and no open module."""

from __future__ import annotations

import pytest

from harness import qt_start


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
