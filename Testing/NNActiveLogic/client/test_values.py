"""JSON into values, addresses, and answers before they are sent."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from NNActiveLogic.client.addresses import part, read_address
from NNActiveLogic.client.answers import Answer, Kind, Reason
from NNActiveLogic.client.errors import BadAddress, ProtocolError
from NNActiveLogic.client.parsing import parse, parse_list
from NNActiveLogic.client.statistics import Outlook, Range, Statistics
from NNActiveLogic.client.values import Box, Event, Job, Patch, Role

PATCH = {
    "id": "p", "project": "q", "case": "c", "cycle": 1, "rank": 1,
    "box": {"start": [0, 1, 2], "size": [3, 4, 5]}, "group": "", "class_name": None, "score": 1,
    "why": {"mean": 0.5}, "sentence": "Because.", "origin": "query", "state": "open", "revision": 0,
    "lease": {"holder": "ann", "expires": 5.5, "mine": True},
}  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*PATCH, "x"]), inner),
    max_leaves=20,
)


def test_a_patch_is_read_with_what_it_holds():
    patch = parse(Patch, PATCH, "patch")
    assert patch.box == Box((0, 1, 2), (3, 4, 5))
    assert patch.lease.mine
    assert not patch.taken
    assert isinstance(patch.score, float)


def test_statistics_of_a_server_that_tells_no_outlook_are_read():
    plain = {"cycles": [], "balance": {}, "cost": {}}
    found = parse(Statistics, plain, "statistics")
    assert (found.outlook, found.saving) == (None, None)
    gain = {"low": 0, "mean": 0.01, "high": 0.02}
    told = {
        "outlook": {"gain": gain, "worth": None, "words": "One more cycle.", "patches": 20},
        "saving": {"share": gain, "patches": None, "hours": None, "words": "Saving.", "rests_on": []},
    }
    found = parse(Statistics, plain | told, "statistics")
    assert found.outlook == Outlook(Range(0.0, 0.01, 0.02), None, "One more cycle.")
    assert (found.saving.share.high, found.saving.hours) == (0.02, None)
    with pytest.raises(ProtocolError, match="worth"):
        parse(Statistics, plain | {"outlook": told["outlook"] | {"worth": "yes"}}, "statistics")


def test_keys_of_a_newer_server_are_ignored():
    newer = PATCH | {"new": 1, "box": PATCH["box"] | {"unit": "voxel"}, "state": "archived"}
    assert parse(Patch, newer, "patch").state == "archived"


@pytest.mark.parametrize("key", PATCH)
def test_a_missing_key_is_named(key):
    with pytest.raises(ProtocolError, match=f"'{key}'"):
        parse(Patch, {k: v for k, v in PATCH.items() if k != key}, "patch")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("revision", "1"), ("revision", True), ("revision", 1.5), ("id", 7), ("score", "high"),
        ("box", [1, 2]), ("box", {"start": [1, 2], "size": [1, 1, 1]}), ("lease", {"holder": "x"}),
        ("why", []), ("state", None),
    ],
)  # fmt: skip
def test_a_wrong_value_names_its_key(key, value):
    with pytest.raises(ProtocolError, match=key if key != "lease" else "expires"):
        parse(Patch, PATCH | {key: value}, "patch")


@given(ANYTHING)
@settings(deadline=None, max_examples=200)
def test_any_json_gives_a_value_or_a_protocol_error(data):
    for kind in (Patch, Job, Statistics, Event):
        for shape in (data, PATCH | data if isinstance(data, dict) else data):
            try:
                found = parse(kind, shape, "x")
            except ProtocolError:
                continue
            assert isinstance(found, kind)


def test_a_list_names_the_place_that_is_wrong():
    with pytest.raises(ProtocolError, match=r"patches\[1\]"):
        parse_list(Patch, [PATCH, 3], "patches")
    with pytest.raises(ProtocolError, match="a list"):
        parse_list(Patch, {"patches": []}, "patches")


def test_fields_with_a_default_may_be_missing():
    @dataclass(frozen=True)
    class Thing:
        a: int
        b: Any = 5

    assert parse(Thing, {"a": 1}, "thing") == Thing(1, 5)


def test_a_role_covers_those_below_it():
    assert Role.ADMIN.covers(Role.REVIEWER)
    assert Role.ANNOTATOR.covers(Role.ANNOTATOR)
    assert not Role.VIEWER.covers(Role.ANNOTATOR)


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("http://127.0.0.1:8765", "127.0.0.1", 8765, True),
        ("http://localhost:1/", "localhost", 1, True),
        ("http://[::1]:80", "::1", 80, True),
        (" https://gpu.example.org ", "gpu.example.org", 443, False),
        ("https://gpu.example.org/nnactive/", "gpu.example.org", 443, False),
    ],
)
def test_good_addresses_are_taken(text, host, port, loopback):
    address = read_address(text)
    assert (address.host, address.port, address.loopback) == (host, port, loopback)
    assert not address.url.endswith("/")


@pytest.mark.parametrize(
    "text",
    [
        "", "gpu:8765", "gpu", "ftp://gpu", "https://", "https://user:word@gpu", "https://gpu?x=1",
        "https://gpu#x", "https://gpu:port", "https://gpu:99999", "https://g pu", "http://gpu.example.org",
        "http://10.0.0.1", "http://0.0.0.0:8765", "http://localhost.evil.example", "https://gpu\\@evil",
        "http://[::1", "javascript:alert(1)", "http://127.0.0.1.evil.example",
    ],
)  # fmt: skip
def test_bad_addresses_are_refused_with_advice(text):
    with pytest.raises(BadAddress) as caught:
        read_address(text)
    assert caught.value.advice


def test_plain_http_to_another_machine_must_be_allowed():
    assert not read_address("http://gpu.example.org", allow_plain_http=True).loopback


@pytest.mark.parametrize("value", ["", "..", ".", "a/b", "a%2fb", "a b", "a\n", "ü", "a?b", "a#b", "x" * 200])
def test_an_id_that_could_lead_elsewhere_is_refused(value):
    with pytest.raises(BadAddress):
        part(value)


LABELS = np.zeros((2, 2, 2), np.uint8)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": Kind.LABELLED}, {"kind": Kind.CONFIRMED}, {"kind": Kind.SKIPPED}, {"kind": Kind.REFERRED},
        {"kind": Kind.EMPTY, "labels": LABELS}, {"kind": Kind.EMPTY, "reason": Reason.BAD_IMAGE},
        {"kind": Kind.EMPTY, "refer_to": "ben"},
        {"kind": Kind.LABELLED, "labels": LABELS, "unsure": LABELS[1:]},
    ],
)  # fmt: skip
def test_an_answer_whose_fields_do_not_fit_is_refused(fields):
    with pytest.raises(ValueError, match="answer"):
        Answer(**fields)


def test_an_answer_says_only_what_is_set():
    body = Answer(Kind.SKIPPED, reason=Reason.BAD_IMAGE, seconds=np.float32(2)).to_json()
    assert json.loads(json.dumps(body)) == {
        "kind": "skipped", "reason": "bad-image", "seconds": 2.0, "edits": 0, "prefilled_model": None,
    }  # fmt: skip
