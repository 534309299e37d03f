"""Pictures of pages, taken by a real browser without a screen."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--hide-scrollbars",
)


def chromium() -> str | None:
    """The browser's program; None when none is installed."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def screenshot(
    url: str, token: str, path: Path, size: tuple[int, int], dark: bool = False, zoom: float = 1.0
) -> Path:
    """Take a picture of a page that asks for a token.

    Args:
        url: of the page, `http://…`.
        token: password of HTTP Basic.
        path: of the PNG.
        size: of the window, width and height; what is longer is cut off.
        dark: as with the browser's dark scheme.
        zoom: pixels of the picture for one of the page; a window has 500 pixels at least, so that a phone is
            such a window with a zoom.
    """
    program = chromium()
    assert program is not None, "no Chromium is installed"
    scheme, _, rest = url.partition("://")
    with tempfile.TemporaryDirectory() as profile:
        command: Sequence[str] = (
            program,
            *_OPTIONS,
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
            f"--force-device-scale-factor={zoom}",
            f"--screenshot={path}",
            *(("--blink-settings=preferredColorScheme=0",) if dark else ()),
            f"{scheme}://viewer:{token}@{rest}",
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if not path.is_file():
        raise AssertionError(f"Chromium took no picture:\n{done.stderr[-2000:]}")
    return path
