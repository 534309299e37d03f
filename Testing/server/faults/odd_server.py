"""`nnactive serve` that waits only a second for a body, and whose clock can be set.

The file `clock` beside the data folder holds the seconds by which the clock of the whole process is wrong.
"""

import argparse
import time
from contextlib import suppress
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("command")
parser.add_argument("--data", type=Path, required=True)
parser.add_argument("--port", type=int)
options = parser.parse_args()


def wrong_by():
    with suppress(FileNotFoundError, ValueError):
        return float(options.data.with_name("clock").read_text())
    return 0.0


def wrong_time(_time=time.time):
    return _time() + wrong_by()


def wrong_time_ns(_time=time.time_ns):
    return _time() + int(wrong_by() * 1e9)


if __name__ == "__main__":
    time.time, time.time_ns = wrong_time, wrong_time_ns
    from nnactive_server.api.run import serve
    from nnactive_server.api.settings import Limits, Settings

    limits = Limits(body_seconds=1.0)
    serve(Settings(data=options.data, port=options.port, limits=limits), lambda _: None)
