"""Standard output for messages alone, in processes that talk to the one that started them."""

from __future__ import annotations

import os
from typing import TextIO


def own_output() -> TextIO:
    """Standard output as it was; from now on whatever libraries print goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own
