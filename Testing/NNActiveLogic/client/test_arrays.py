"""Arrays and labels on the wire."""

import base64
import json
import pickle
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from NNActiveLogic.client.arrays import DTYPES, LabelCrop, decode_labels, encode_labels, read_header
from NNActiveLogic.client.download import fetch_array
from NNActiveLogic.client.errors import ProtocolError, TooLarge
from NNActiveLogic.client.transport import Call
from standin import Reply

GOOD = {
    "dtype": "<i2", "shape": [2, 3, 4], "spacing": [1, 1, 1], "origin": [0, 0, 0],
    "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1], "start": [0, 0, 0], "model": None,
}  # fmt: skip


def header(**changes):
    return json.dumps(GOOD | changes)


@given(arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 3)))
@settings(deadline=None, max_examples=60)
def test_labels_come_back_from_the_wire_as_they_went(labels):
    crop = encode_labels(labels)
    found = decode_labels(crop, labels.shape)
    np.testing.assert_array_equal(found, labels)
    assert found.flags.writeable
    assert json.loads(json.dumps(crop.to_json())) == crop.to_json() | {"shape": list(labels.shape)}


def test_an_answer_of_a_large_patch_is_small():
    z, y, x = np.ogrid[:64, :128, :128]
    ball = ((z - 32) / 20) ** 2 + ((y - 64) / 40) ** 2 + ((x - 64) / 40) ** 2 < 1
    assert len(encode_labels(ball).data) < 10_000


def test_labels_of_any_memory_order_keep_their_axes():
    labels = np.arange(24, dtype=np.int64).reshape(4, 3, 2).T
    np.testing.assert_array_equal(decode_labels(encode_labels(labels), labels.shape), labels)


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((2, 2)),
        np.zeros((2, 2, 2)),
        np.full((1, 1, 1), 256),
        np.full((1, 1, 1), -1),
        np.zeros((0, 1, 1), int),
    ],
    ids=["two axes", "floats", "too large", "negative", "empty"],
)
def test_what_is_no_label_map_is_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        encode_labels(labels)


def crop(data, **changes):
    fields = {"encoding": "zlib", "dtype": "uint8", "shape": (2, 2, 2)} | changes
    return LabelCrop(**fields, data=base64.b64encode(data).decode())


BOMB = crop(zlib.compress(bytes(1 << 26)))


@pytest.mark.parametrize(
    "bad",
    [
        crop(zlib.compress(bytes(8)), encoding="pickle"),
        crop(zlib.compress(bytes(8)), dtype="float32"),
        crop(zlib.compress(bytes(8)), shape=(2, 2, 3)),
        crop(zlib.compress(bytes(7))),
        crop(zlib.compress(bytes(9))),
        crop(zlib.compress(bytes(8))[:-2]),
        crop(zlib.compress(bytes(8))[:-1] + b"\x00"),
        BOMB,
        crop(b""),
        crop(b"garbage"),
        LabelCrop("zlib", "uint8", (2, 2, 2), "not base64!"),
        LabelCrop("zlib", "uint8", (2, 2, 2), "ü"),
    ],
)
def test_labels_that_do_not_fill_the_box_exactly_are_refused(bad):
    with pytest.raises(ProtocolError):
        decode_labels(bad, (2, 2, 2))


def test_labels_that_would_fill_the_memory_are_not_unpacked():
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            decode_labels(BOMB, (2, 2, 2))
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [*DTYPES, "|u1"])
def test_every_agreed_type_is_read(dtype):
    info = read_header(header(dtype=dtype), 1000)
    assert info.nbytes == 24 * np.dtype(dtype).itemsize


@pytest.mark.parametrize("dtype", ["|O", ">i2", "<f8", "<U9", "|V4", "object", "<M8[s]", "", "<i2,<i2"])
def test_every_other_type_is_refused(dtype):
    with pytest.raises(ProtocolError, match="type"):
        read_header(header(dtype=dtype), 1000)


@pytest.mark.parametrize("shape", [[10**18] * 3, [10**6, 10**6, 1], [2**32, 2**32, 2**2]])
def test_a_shape_over_the_limit_is_refused_before_anything_is_allocated(shape):
    with pytest.raises(TooLarge):
        read_header(header(shape=shape), 1 << 31)


@pytest.mark.parametrize(
    "text",
    [
        None, "", "[]", "7", "{", header(shape=[2, 3]), header(shape=[0, 1, 1]), header(shape=[-1, -1, 1]),
        header(shape=[True, 1, 1]), header(shape=[1.0, 1, 1]), header(direction=[1]), header(start=None),
        header(spacing="1,1,1"), header(model=3),
    ],
)  # fmt: skip
def test_an_impossible_header_is_refused(text):
    with pytest.raises(ProtocolError):
        read_header(text, 1000)


@pytest.mark.parametrize("count", [47, 49, 0])
def test_voxels_of_another_number_than_announced_are_refused(standin, client, count):
    standin.app.before = lambda _: Reply(headers={"NNActive-Array": header()}, body=bytes(count))
    with pytest.raises((ProtocolError, TooLarge)):
        fetch_array(client.transport, Call("GET", "/v1/x"))


class Canary:
    def __reduce__(self):
        return (open, ("/tmp/nnactive-canary-must-not-exist", "w"))


def test_a_pickle_is_never_opened(standin, client):
    body = pickle.dumps(Canary())
    text = header(dtype="|O", shape=[1, 1, 1])
    standin.app.before = lambda _: Reply(headers={"NNActive-Array": text}, body=body)
    with pytest.raises(ProtocolError, match="type"):
        fetch_array(client.transport, Call("GET", "/v1/x"))
