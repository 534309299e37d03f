from __future__ import annotations

import pytest

from nnactive_server.core.errors import Cancelled
from nnactive_server.core.monitor import Monitor


def test_a_monitor_stops_the_work_at_its_next_check_after_cancel():
    monitor = Monitor()
    monitor.check()
    assert not monitor.cancelled
    monitor.cancel()
    assert monitor.cancelled
    with pytest.raises(Cancelled, match="run the same command again"):
        monitor.check()
