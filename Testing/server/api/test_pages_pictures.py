"""What a real browser makes of the pages: Chromium's pictures, looked at pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from nnactive_server.store import Store
from testkit import busy_clinic
from testkit.browser import chromium, screenshot
from testkit.live_server import LiveServer

pytestmark = pytest.mark.skipif(chromium() is None, reason="needs Chromium (apt-get install chromium)")
LIGHT, DARK = (244, 246, 248), (16, 20, 26)
"""Background of the page."""
PHONE, PHONE_ZOOM = (500, 1600), 1.35
"""A width of 370 pixels of CSS."""


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("busy") / "data") as server:
        project = busy_clinic.fill(server.data)
        with Store(server.data) as store:
            # Names that are as long as they may be must not push anything out of the page.
            long = busy_clinic.settings([("c" * 200, None), ("long name of a structure " * 4 + ".", None)])
            store.projects.create("x" * 200, long)
            patch = store.patches.list(project.id, limit=1)[0].id
            store.leases.take(patch, "n" * 100, 600)
        yield server


@pytest.fixture
def look(busy, tmp_path):
    """Take a picture; uint8 (height, width, 3)."""

    def take(size, path="/", who="ann", **how):
        made = screenshot(f"{busy.url}{path}", busy.tokens[who], tmp_path / "page.png", size, **how)
        with Image.open(made) as image:
            return np.asarray(image.convert("RGB"))

    return take


def has(picture, colour):
    """Where a picture has exactly this colour."""
    return (picture == np.array(colour, np.uint8)).all(axis=-1)


def rgb(text):
    return tuple(int(text[place : place + 2], 16) for place in (1, 3, 5))


def test_the_curve_is_drawn_in_the_colours_of_the_classes(look):
    picture = look((1280, 1900))
    right = picture[:, 620:]  # names of the classes stand on the left
    for name, colour in busy_clinic.CLASSES:
        rows = np.flatnonzero(has(right, rgb(colour)).any(axis=1))
        # The legend's marker is a dozen pixels high, the line climbs over more.
        assert len(rows) > 30, name
        assert np.ptp(rows) > 60, name


def test_the_progress_bar_is_filled_as_far_as_the_job_is(look):
    picture = look((1280, 900))
    filled = has(picture, rgb("#0b5a8f")).sum(axis=1)
    rest = has(picture, rgb("#e3e8ee")).sum(axis=1)
    row = int(np.argmax(filled * (rest > 0)))
    assert filled[row] / (filled[row] + rest[row]) == pytest.approx(3120 / 5000, abs=0.02)


@pytest.mark.parametrize(("dark", "background"), [(False, LIGHT), (True, DARK)])
def test_both_schemes_are_served(look, dark, background):
    picture = look((1280, 1200), dark=dark)
    assert has(picture, background).mean() > 0.15
    assert (picture.mean() < 80) == dark
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_nothing_reaches_out_of_a_phone_s_screen(look, path):
    picture = look((500, 6000), path=path, zoom=PHONE_ZOOM)
    margin = picture[:, -12:]
    assert has(margin, LIGHT).all()
    assert not has(picture, LIGHT).all()


def test_the_interface_is_no_blank_page(look):
    picture = look((1280, 1600), path="/docs", who="vic")
    assert has(picture, (255, 255, 255)).mean() > 0.4  # cards
    assert (picture.min(axis=-1) < 80).mean() > 0.01  # letters


def test_the_empty_page_differs_from_the_busy_one(look, live, tmp_path):
    made = screenshot(f"{live.url}/", live.tokens["vic"], tmp_path / "empty.png", (1280, 900))
    with Image.open(made) as image:
        empty = np.asarray(image.convert("RGB"))
    full = look((1280, 900), who="vic")
    assert empty.shape == full.shape
    assert (empty != full).any(axis=-1).mean() > 0.05
    assert not has(empty, rgb(busy_clinic.CLASSES[0][1])).any()
