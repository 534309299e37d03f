"""Images on their way in: read ahead, in order, and never more than one too many."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from nnactive_server.core.errors import SegmentationError
from nnactive_server.core.monitor import Monitor
from nnactive_server.dataset import write_volume
from nnactive_server.segmentation import Engine, get_profile
from nnactive_server.segmentation.intake import Intake


@pytest.fixture
def intake(project):
    return Intake(project, get_profile("smoke"), Monitor())


def test_images_come_in_order_and_are_those_of_the_files(project, intake):
    for case, image in intake.each(project.cases):
        np.testing.assert_array_equal(image.array, project.read_image(case).array)
    assert list(intake.each(())) == []
    assert [case for case, _ in intake.each(project.cases[:1])] == [project.cases[0]]


def test_one_image_is_read_ahead_and_no_more(project, intake, monkeypatch):
    read, enough = [], threading.Event()
    real = Intake.take

    def take(self, case):
        read.append(case)
        if len(read) == 2:
            enough.set()
        return real(self, case)

    monkeypatch.setattr(Intake, "take", take)
    images = intake.each(project.cases)
    next(images)
    assert enough.wait(30)
    time.sleep(0.1)
    assert read == list(project.cases[:2])
    images.close()


def test_an_image_that_is_all_zero_is_named_when_its_turn_comes(make_project, tmp_path):
    project = make_project(cases=3, annotated=1)
    write_volume(
        project.image_paths("case_2")[0], np.zeros((18, 24, 20), np.float32), project.geometry("case_2")
    )
    engine = Engine(project, tmp_path, get_profile("smoke"))
    engine.prepare(project.cases[:2])
    with pytest.raises(SegmentationError, match="every voxel is zero; remove or replace"):
        engine.prepare(project.cases)
