"""Every operation with generated requests, right and wrong ones: no fault, every reply as described."""

import base64
import zlib

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi_checks

from nnactive_server.api import Settings, create_app
from nnactive_server.store import JobState, Store
from testkit.small_case import BOX, crop

CHECKS = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]
ENDLESS = ("get", "/v1/events/stream")
IN_A_PROCESS = ("/suggestion", "/start-patches")
"""Each request of these starts a process."""
FEW, SOME, MANY = 3, 14, 300


@pytest.fixture(scope="module")
def document(live):
    """The interface as the running server describes it."""
    return plain(live.call("GET", "/openapi.json").json())


def plain(part):
    """The same with triples as lists of three: schemathesis makes of `prefixItems` what 3.1 has no more."""
    if isinstance(part, list):
        return [plain(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {name: plain(one) for name, one in part.items()}
    if "prefixItems" in found:
        first, *others = found.pop("prefixItems")
        assert all(one == first for one in others)
        found["items"] = first
    return found


@pytest.fixture(scope="module")
def known(live, ann, image):
    """Ids that there are, by the name of the parameter; a project without answers cannot train."""
    made = live.call(
        "POST",
        "/v1/projects",
        json={"name": "fuzzed", "labels": [{"name": "a"}, {"name": "b"}], "channels": ["CT"]},
    ).json()["id"]
    sha256 = ann.upload(image[0])
    case = ann.add_case(made, [sha256], "first")
    patch = ann.place_patch(made, case.id, BOX)
    empty = live.call(
        "POST", "/v1/projects", json={"name": "empty", "labels": [{"name": "a"}], "channels": ["CT"]}
    ).json()["id"]
    with Store(live.data) as store:
        store.jobs.enqueue(empty, "import", {})
        job = store.jobs.claim(1)
        store.jobs.finish(job.id, job.attempt, JobState.SUCCEEDED)
    begun = live.call("POST", "/v1/uploads", json={"sha256": "4" * 64, "size": 10**6}).json()
    return {
        "project": made,
        "empty": empty,
        "case": case.id,
        "patch": patch.id,
        "job": job.id,
        "sha256": sha256,
        "upload": begun["id"],
        "measure": "predictive_entropy",
    }


@pytest.fixture(scope="module")
def schema(document):
    config = schemathesis.Config.from_dict({"generation": {"deterministic": True}})
    return schemathesis.openapi.from_dict(document, config=config)


@pytest.fixture(scope="module")
def operations(schema):
    found = [result.ok() for result in schema.get_all_operations()]
    return {(one.method.lower(), one.path): one for one in found}


def names(path):
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def real(path, known):
    """Ids that there are for the parameters of a path."""
    swapped = {**known, "project": known["empty"]} if path.endswith("/cycles") else known
    return {name: swapped[name] for name in names(path)}


def bodies(path, known):
    """Bodies that get far, where generated ones hardly would; None for others."""
    small = st.lists(st.integers(0, 9), min_size=3, max_size=3)
    label = st.integers(0, 4).map(label_of)
    kinds = st.sampled_from(["labelled", "confirmed", "empty", "skipped", "referred"])
    more = {"label": label, "unsure": label, "reason": st.just("bad-image"), "refer_to": st.just("ben")}
    answers = st.fixed_dictionaries({"kind": kinds}, optional=more)
    ends = {
        "/patches": st.fixed_dictionaries(
            {"case": st.just(known["case"]), "box": st.fixed_dictionaries({"start": small, "size": small})}
        ),
        "/cases": st.just({"channels": [known["sha256"]]}),
        "/annotation": answers,
        "/second-reading": answers,
        "/start-patches": st.just({"count": 2}),
        "/suggestion": st.just({"boxes": {"a": [[9, 9, 9]]}}),
    }
    return next((found for end, found in ends.items() if path.endswith(end)), None)


def label_of(number):
    """Labels as they are sent: of the class, of no class, too few, too many."""
    voxels = [crop(1).tobytes(), crop(2).tobytes(), crop(3).tobytes(), b"", bytes(10**6)][number]
    data = base64.b64encode(zlib.compress(voxels)).decode()
    return {"encoding": "zlib", "dtype": "uint8", "shape": list(BOX.size), "data": data}


def requests_of(operation, known):
    """Right and wrong requests, half of them about things that there are."""
    there = real(operation.path, known)
    kinds = [operation.as_strategy(GenerationMode.POSITIVE, path_parameters=there)]
    if operation.path_parameters or operation.query or operation.headers or operation.body:
        kinds.append(operation.as_strategy(GenerationMode.NEGATIVE))
    if there:
        kinds.append(operation.as_strategy(GenerationMode.POSITIVE))
    good = bodies(operation.path, known)
    if good is not None and operation.body:
        kind = operation.as_strategy(GenerationMode.POSITIVE, path_parameters=there)
        kinds.append(st.builds(with_body, kind, good))
    return st.one_of(kinds)


def with_body(case, body):
    case.body = body
    if case.path.endswith("/annotation"):
        case.headers["If-Match"] = '"0"'
    return case


def check_reply(case, reply):
    """What holds for every reply of the server, whatever its description says."""
    assert reply.headers["nnactive-protocol"] == ["1"]
    assert reply.headers["x-content-type-options"] == ["nosniff"]
    if reply.status_code >= 400 and case.method != "HEAD":
        assert reply.headers["content-type"] == ["application/problem+json"]
        problem = reply.json()
        assert problem["status"] == reply.status_code
        assert problem["detail"]
        assert {"type", "title", "code"} <= set(problem)


def fuzz(live, operation, known, count):
    session = requests.Session()
    token = f"Bearer {live.tokens['ann']}"

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests_of(operation, known))
    def check(case):
        if case.path == "/v1/events":
            case.query.pop("wait", None)
        case.headers["Authorization"] = token
        reply = case.call(base_url=live.url, session=session, timeout=30)
        case.validate_response(reply, checks=CHECKS)
        check_reply(case, reply)

    with session:
        check()


def listed():
    """The operations, read once without a server so that each is a test of its own."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(Path(folder)))
        paths = app.openapi()["paths"]
        app.state.server.folders.close()
        app.state.server.store.close()
    return [(m, path) for path, methods in paths.items() for m in methods if (m, path) != ENDLESS]


OPERATIONS = listed()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_reply_is_as_described(live, operations, known, method, path):
    count = FEW if path.endswith(IN_A_PROCESS) else SOME
    fuzz(live, operations[method, path], known, count)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_reply_is_as_described_for_long(live, operations, known, method, path):
    count = SOME if path.endswith(IN_A_PROCESS) else MANY
    fuzz(live, operations[method, path], known, count)


def test_a_description_that_lies_is_noticed(live, document, known):
    lying = {**document, "paths": {"/v1/me": document["paths"]["/v1/me"]}}
    lying["components"] = {**document["components"], "schemas": {**document["components"]["schemas"]}}
    lying["components"]["schemas"]["PersonOut"] = {"type": "object", "required": ["no such field"]}
    config = schemathesis.Config.from_dict({})
    found = schemathesis.openapi.from_dict(lying, config=config)["/v1/me"]["GET"]
    with pytest.raises(BaseException, match="no such field"):
        fuzz(live, found, known, 1)


def test_nothing_was_damaged_by_all_this(live):
    with Store(live.data) as store:
        assert store.check() == []
    assert "incident" not in live.log()
