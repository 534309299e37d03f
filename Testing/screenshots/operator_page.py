"""Takes the README's picture of the operator's page: a real server in the middle of the work, Chromium.

Run from the repository's folder with PYTHONPATH=Testing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from testkit.browser import screenshot
from testkit.busy_clinic import fill
from testkit.live_server import LiveServer

PICTURE = Path(__file__).parents[2] / "Resources" / "Screenshots" / "operator-page.png"
SIZE = (1180, 1712)
"""Down to the end of the first project."""


def take(path: Path) -> Path:
    """The picture, as an admin sees the page."""
    with tempfile.TemporaryDirectory() as folder, LiveServer(Path(folder) / "data") as server:
        fill(server.data)
        return screenshot(f"{server.url}/", server.tokens["ann"], path, SIZE)


if __name__ == "__main__":
    print(take(PICTURE))
