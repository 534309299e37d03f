"""Arrays on the wire: boxes, ranges, ETags, several encodings."""

import asyncio
import gzip
import json
from dataclasses import dataclass

import numpy as np
import pytest
from starlette.requests import Request

from nnactive_server.api import voxels
from nnactive_server.api.crowd import Crowd
from nnactive_server.api.problems import Problem
from nnactive_server.api.voxels import RawFile, Source, box_of
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.patch import Patch

SHAPE = (11, 13, 17)
GRID = Geometry(SHAPE, (3.0, 2.0, 1.0), (1.0, 2.0, 3.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


@pytest.fixture
def source(tmp_path):
    """Voxels behind a header of 7 bytes."""
    values = np.random.default_rng(0).integers(-99, 99, SHAPE).astype("<i2")
    path = tmp_path / "raw"
    path.write_bytes(b"header!" + values.tobytes())
    return Source(RawFile(path, SHAPE, np.dtype("<i2"), 7), GRID, "tag"), values


@dataclass
class Anybody:
    id: str = "me"


@dataclass
class Sender:
    """What sending needs of a server."""

    transfers: Crowd


def ask(source, box=None, client="10.0.0.1", **headers):
    """Status, headers and body of a reply."""
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    request = Request(
        {"type": "http", "headers": given, "client": (client, 1), "caller": Anybody(), "query_string": b""}
    )
    reply = voxels.send(Sender(Crowd(9, 9, "wait")), request, source, box or Patch((0, 0, 0), SHAPE))
    if hasattr(reply, "body"):
        return reply.status_code, reply.headers, reply.body

    async def collect():
        return b"".join([piece async for piece in reply.body_iterator])

    return reply.status_code, reply.headers, asyncio.run(collect())


def test_a_whole_array_comes_raw_with_a_header_that_says_what_it_is(source):
    status, headers, body = ask(source[0])
    assert status == 200
    assert body == source[1].tobytes()
    said = json.loads(headers["nnactive-array"])
    assert (said["dtype"], tuple(said["shape"]), said["model"]) == ("<i2", SHAPE, None)


@pytest.mark.parametrize("slab", [1, 100, 10**6])
@pytest.mark.parametrize("span", ["0-0", "0-", "5-", "7-700", "-10", "4861-", "440-441", "100-99999"])
def test_ranges_are_those_bytes_whatever_the_slabs(source, monkeypatch, slab, span):
    monkeypatch.setattr(voxels, "SLAB_BYTES", slab)
    whole = source[1].tobytes()
    status, headers, body = ask(source[0], range=f"bytes={span}")
    first, last = span.split("-")
    start = int(first) if first else len(whole) - int(last)
    end = len(whole) if not first or not last else min(int(last) + 1, len(whole))
    assert status == 206
    assert body == whole[start:end]
    assert headers["content-range"] == f"bytes {start}-{end - 1}/{len(whole)}"
    assert int(headers["content-length"]) == len(body)


def test_boxes_are_cut_the_same_in_slabs(source, monkeypatch):
    box = Patch((2, 3, 4), (7, 5, 6))
    monkeypatch.setattr(voxels, "SLAB_BYTES", 50)
    assert ask(source[0], box)[2] == source[1][box.slices].tobytes()


def test_a_range_past_the_end_is_refused(source):
    with pytest.raises(Problem) as refused:
        ask(source[0], range="bytes=99999-")
    assert refused.value.status_code == 416


@pytest.mark.parametrize("text", ["lines=1-2", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,5-6"])
def test_ranges_nobody_understands_are_ignored(source, text):
    assert ask(source[0], range=text)[0] == 200


def test_an_etag_stands_for_box_and_content(source):
    tag = ask(source[0])[1]["etag"]
    assert ask(source[0], range="bytes=5-")[1]["etag"] == tag  # the same for every range
    assert ask(source[0], Patch((0, 0, 0), (1, 1, 1)))[1]["etag"] != tag
    assert ask(Source(source[0].voxels, GRID, "new"))[1]["etag"] != tag
    assert ask(source[0], if_none_match=f'"x", {tag}')[0] == 304
    assert ask(source[0], range="bytes=5-", if_range=tag)[0] == 206
    assert ask(source[0], range="bytes=5-", if_range='"old"')[0] == 200


def test_small_arrays_are_packed_for_other_machines_only(source):
    status, headers, body = ask(source[0], accept_encoding="gzip, deflate")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == source[1].tobytes()
    assert headers["etag"] != ask(source[0])[1]["etag"]
    assert "content-encoding" not in ask(source[0], client="127.0.0.1", accept_encoding="gzip")[1]
    assert "content-encoding" not in ask(source[0], accept_encoding="identity")[1]


@pytest.mark.parametrize(
    ("start", "size"),
    [("0,0", "1,1,1"), ("a,0,0", None), ("-1,0,0", None), ("0,0,0", "0,1,1"), ("11,0,0", "1,1,1"),
     ("0,0,0", "99999999999999999999,1,1"), ("1,0,0", None), ("0,0,0,0", "1,1,1")],
)  # fmt: skip
def test_boxes_that_cannot_be_are_refused(start, size):
    with pytest.raises(Problem):
        box_of(SHAPE, start, size)


def test_a_box_is_the_whole_without_any_words():
    assert box_of(SHAPE, None, None) == Patch((0, 0, 0), SHAPE)
    assert box_of(SHAPE, "1,2,3", "4,5,6") == Patch((1, 2, 3), (4, 5, 6))
