"""The server is gone, Slicer is closed with unsent answers: none is lost."""

from __future__ import annotations

import numpy as np
import pytest

CLASSES = ("head", "tail")


@pytest.fixture
def ann(sit_down, live, nnactive, steps):
    """Four boxes in one volume of the scene."""
    import slicer
    import slicer.util

    from testkit.known_scans import Scans

    rng = np.random.default_rng(0)
    volume = slicer.util.addVolumeFromArray(rng.normal(100, 9, (12, 20, 24)).astype(np.int16), name="MR")
    clinician = sit_down(Scans("Night shift", "MR", CLASSES, ()))
    clinician.add_volume(volume)
    clinician.know([rng.integers(0, 3, (12, 20, 24)).astype(np.uint8)])
    for number in range(4):
        box = {"start": [2, 5 * number, 3], "size": [6, 4, 8]}
        place = {"case": clinician.cases[0].id, "box": box, "group": CLASSES[number % 2]}
        live.call(
            "POST", f"/v1/projects/{clinician.opened.project.id}/patches", json=place
        ).raise_for_status()
    clinician.until(lambda: len(clinician.opened.records.now.patches) == 4)
    for section in ("workList", "patch"):
        clinician.unfold(section)
    return clinician


def test_answers_given_without_a_server_arrive_after_slicer_was_closed(
    ann, live, exact, load_module, module_file, steps
):
    from testkit.clinician import Clinician

    ann.begin()
    ann.answer()
    ann.all_sent()
    ann.until(lambda: len(ann.session.ahead.patches) == 2)
    ann.until(lambda: all(ann.session.loader.view(one) is not None for one in ann.session.ahead.patches))
    live.kill()
    for _ in range(2):
        ann.brush(ann.wanted)
        ann.accept_as_it_is()
    assert ann.host.widget.ui.sendingLabel.text == "2 answers are not sent yet."
    project, truth, answered = ann.opened.project, ann.truth, ann.answered
    ann.host.quit()

    host = load_module(module_file)
    host.enter()
    again = Clinician(host)
    again.until(lambda: again.presenter.connection.report is not None)
    assert not again.presenter.connection.online
    assert host.widget.ui.statusLabel.text
    live.start()
    again.press_connect()
    again.open_project(project.name)
    again.all_sent()
    again.truth, again.answered = truth, answered
    exact(again, 0)
    for section in ("workList", "patch"):
        again.unfold(section)
    again.until(lambda: again.rows(2).count("answered") == 3)
    assert again.begin(), "one box is left"
