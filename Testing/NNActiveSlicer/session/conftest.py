"""A clinician who knows the truth, at the real panel, with a real server of their own."""

from __future__ import annotations

import pytest


@pytest.fixture
def live(tmp_path):
    """A server with nothing in it; always at the same address, also after a start anew."""
    import socket

    from testkit.live_server import LiveServer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with LiveServer(tmp_path / "server", ["--executor", "local", "--port", str(port)]) as server:
        yield server


@pytest.fixture
def sit_down(nnactive, make_window, live):
    """`sit_down(scans)` gives a clinician who is connected and has a new project with these structures."""
    from testkit.clinician import Clinician

    def begin(scans):
        window = make_window(nnactive)
        clinician = Clinician(nnactive, scans, window._views)
        clinician.window = window
        clinician.connect(live.url, live.tokens["ann"])
        clinician.fill_in_project(scans.title, scans.channel, scans.classes)
        clinician.create_project()
        return clinician

    return begin


@pytest.fixture
def exact(live):
    """`exact(clinician, cycle)`: the server's label maps are the answers inside boxes, ignore elsewhere."""
    import numpy as np

    from testkit.server_labels import partial_labels

    def check(clinician, cycle, expected=None):
        labels, ignore = partial_labels(live.data, clinician.opened.project.id, cycle)
        expected = expected or {case: clinician.expected(case, ignore) for case in clinician.answered}
        assert set(labels) == {case for case, label in expected.items() if (label != ignore).any()}
        for case, label in labels.items():
            np.testing.assert_array_equal(label, expected[case])
        return labels, ignore

    return check
