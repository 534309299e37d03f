"""A small server that speaks the API over real HTTP and keeps everything in memory.

It stands in for the network side. The contract tests ask nothing of it that the real server does not do, so
they can be run against that one as well.
"""

import base64
import gzip
import hashlib
import json
import re
import tempfile
import threading
import time
import uuid
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import SimpleITK as sitk

ROLES = ("viewer", "annotator", "reviewer", "admin")


@dataclass
class Request:
    method: str
    path: str
    query: dict
    headers: dict
    body: bytes
    person: str = ""
    role: str = ""

    @property
    def json(self):
        return json.loads(self.body or b"{}")


@dataclass
class Reply:
    status: int = 200
    json: object = None
    headers: dict = field(default_factory=dict)
    body: bytes = b""

    def __post_init__(self):
        if self.json is not None:
            self.body = json.dumps(self.json).encode()
            self.headers.setdefault("Content-Type", "application/json")


class Problem(Exception):
    def __init__(self, status, code, detail, **extra):
        super().__init__(detail)
        document = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code}
        self.reply = Reply(status, document | extra, {"Content-Type": "application/problem+json"})


def route(method, pattern, role="viewer"):
    def mark(function):
        steps = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
        function.route = (method, re.compile(steps), role)
        return function

    return mark


class StandIn:
    """State and routes. `seen` lists the requests, `answers` the records of answers, in their order."""

    chunk_bytes = 1 << 16

    def __init__(self):
        self.tokens = {
            "token-ann": ("ann", "admin"), "token-ben": ("ben", "annotator"), "token-vic": ("vic", "viewer"),
        }  # fmt: skip
        self.lock = threading.RLock()
        self.blobs, self.uploads, self.replies = {}, {}, {}
        self.projects, self.cases, self.patches, self.jobs = {}, {}, {}, {}
        self.answers, self.events, self.seen = [], [], []
        self.protocol = "1"
        self.keep_alive = True
        self.before = lambda _: None  # a test may answer in its place
        self.routes = [
            (*handler.route, handler)
            for handler in (getattr(self, name) for name in dir(type(self)))
            if hasattr(handler, "route")
        ]

    def handle(self, request):
        with self.lock:
            self.seen.append(request)
        try:
            early = self.before(request)
            return early if early is not None else self.dispatch(request)
        except Problem as problem:
            return problem.reply

    def dispatch(self, request):
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.tokens:
            raise Problem(401, "unauthorised", "This token is not known.")
        request.person, request.role = self.tokens[token]
        handler, role, values = self.find(request)
        if ROLES.index(request.role) < ROLES.index(role):
            raise Problem(403, "forbidden", f"This needs the role {role}.")
        if request.path == "/v1/events":
            return handler(request)  # waits, so it must not keep others out
        with self.lock:
            return self.once(token, request, lambda: handler(request, **values))

    def find(self, request):
        for method, pattern, role, handler in self.routes:
            found = pattern.fullmatch(request.path)
            if found and method == request.method:
                return handler, role, found.groupdict()
        raise Problem(404, "not-found", "There is no such route.")

    def once(self, token, request, work):
        key = request.headers.get("idempotency-key")
        if key is None:
            return work()
        digest = hashlib.sha256(request.body).hexdigest()
        known = self.replies.get((token, request.method, request.path, key))
        if known is not None:
            if known[0] != digest:
                raise Problem(409, "idempotency-conflict", "This key was used for something else.")
            return known[1]
        reply = work()
        self.replies[token, request.method, request.path, key] = (digest, reply)
        return reply

    def get(self, kind, key):
        try:
            return getattr(self, kind)[key]
        except KeyError:
            raise Problem(404, "not-found", f"There is nothing of this id among the {kind}.") from None

    def emit(self, project, kind, payload):
        event = {"seq": len(self.events) + 1, "project": project, "kind": kind, "payload": payload}
        self.events.append(event | {"time": time.time()})

    @route("GET", "/v1/health")
    def health(self, request):
        return Reply(json={
            "version": "0.1", "protocol": 1, "projects": len(self.projects), "running_jobs": 0,
            "queued_jobs": 0, "disk_free_bytes": 10**12, "devices": [], "unknown_to_old_clients": 1,
        })  # fmt: skip

    @route("GET", "/v1/me")
    def me(self, request):
        return Reply(json={"name": request.person, "role": request.role})

    @route("GET", "/v1/events")
    def read_events(self, request):
        after, until = (
            int(request.query.get("after", 0)),
            time.monotonic() + float(request.query.get("wait", 0)),
        )
        while True:
            with self.lock:
                found = [event for event in self.events if event["seq"] > after]
                if found or time.monotonic() > until:
                    return Reply(json={"events": found, "last": len(self.events)})
            time.sleep(0.01)

    @route("GET", "/v1/projects")
    def list_projects(self, request):
        return Reply(json=list(self.projects.values()))

    @route("POST", "/v1/projects", "admin")
    def create_project(self, request):
        defaults = {
            "patch_size": [4, 4, 4], "query_size": 5, "strategy": "random", "strategy_parameters": {},
            "profile": "smoke", "profile_overrides": {},
        }  # fmt: skip
        project = defaults | request.json | {"id": uuid.uuid4().hex}
        self.projects[project["id"]] = project
        return Reply(201, project)

    @route("GET", "/v1/projects/{project}")
    def read_project(self, request, project):
        return Reply(json=self.get("projects", project))

    @route("PATCH", "/v1/projects/{project}", "admin")
    def change_project(self, request, project):
        self.get("projects", project).update(request.json)
        return self.read_project(request, project)

    @route("GET", "/v1/projects/{project}/statistics")
    def statistics(self, request, project):
        cycle = {
            "cycle": 0, "patches": 0, "foreground_voxels": 0, "minutes": 0.0, "dice_per_class": None,
            "fold_spread": None, "seconds": {},
        }  # fmt: skip
        saving = {
            "baseline": None, "share": None, "share_by_foreground": None, "patches": None, "hours": None,
            "hours_by_foreground": None, "compute_hours": 0.0, "rests_on": [],
            "words": "Saving: not enough data to say; the server was started without a study.",
        }  # fmt: skip
        return Reply(
            json={
                "cycles": [cycle], "balance": {"organ": 0}, "cost": {"minutes": 0.0}, "outlook": None,
                "saving": saving,
            }
        )  # fmt: skip

    @route("HEAD", "/v1/blobs/{sha256}", "annotator")
    def has_blob(self, request, sha256):
        return Reply(headers={"Content-Length": str(len(self.get("blobs", sha256)))})

    @route("POST", "/v1/uploads", "annotator")
    def begin_upload(self, request):
        sha256, size = request.json["sha256"], request.json["size"]
        if sha256 in self.blobs:
            return Reply(201, {"received": size, "done": True})
        self.uploads.setdefault(sha256, {"sha256": sha256, "size": size, "data": bytearray()})
        received = len(self.uploads[sha256]["data"])
        return Reply(201, {"id": sha256, "received": received, "chunk_bytes": self.chunk_bytes})

    @route("PUT", "/v1/uploads/{upload}", "annotator")
    def upload(self, request, upload):
        found = self.get("uploads", upload)
        start = int(re.fullmatch(r"bytes (\d+)-\d+/\d+", request.headers["content-range"])[1])
        if start != len(found["data"]):
            raise Problem(409, "offset", "Another byte is expected.", received=len(found["data"]))
        if hashlib.sha256(request.body).hexdigest() != request.headers["nnactive-chunk-sha256"]:
            raise Problem(422, "checksum", "The piece was damaged on its way.")
        found["data"] += request.body
        done = len(found["data"]) == found["size"]
        if done:
            self.blobs[upload] = bytes(found["data"])
        return Reply(json={"received": len(found["data"]), "done": done})

    @route("POST", "/v1/projects/{project}/cases", "annotator")
    def add_case(self, request, project):
        self.get("projects", project)
        images = [_image(self.get("blobs", sha256)) for sha256 in request.json["channels"]]
        case = {
            "id": uuid.uuid4().hex, "project": project, "name": request.json.get("name", "case"),
            **_grid(images[0]), "annotated_patches": 0, "open_patches": 0, "predicted_quality": None,
            "model": None,
        }  # fmt: skip
        self.cases[case["id"]] = case | {"arrays": [sitk.GetArrayFromImage(image) for image in images]}
        return Reply(201, case)

    @route("GET", "/v1/projects/{project}/cases")
    def list_cases(self, request, project):
        return Reply(json=[_public(one) for one in self.cases.values() if one["project"] == project])

    @route("GET", "/v1/cases/{case}")
    def read_case(self, request, case):
        return Reply(json=_public(self.get("cases", case)))

    @route("GET", "/v1/cases/{case}/image")
    def image(self, request, case):
        found = self.get("cases", case)
        whole = found["arrays"][int(request.query.get("channel", 0))]
        start, size = _triple(request.query.get("start", "0,0,0")), request.query.get("size")
        stop = np.add(start, _triple(size)) if size else whole.shape
        if np.any(np.asarray(stop) > whole.shape):
            raise Problem(422, "outside", "The box lies outside the image.")
        crop = whole[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        header = {key: found[key] for key in ("spacing", "origin", "direction")}
        header |= {
            "dtype": crop.dtype.newbyteorder("<").str,
            "shape": crop.shape,
            "start": start,
            "model": None,
        }
        return _ranged(request, crop.tobytes(), {"NNActive-Array": json.dumps(header)})

    @route("GET", "/v1/cases/{case}/prediction")
    def prediction(self, request, case):
        raise Problem(404, "not-predicted", "There is no model yet.")

    @route("GET", "/v1/cases/{case}/maps/{measure}")
    def map(self, request, case, measure):
        raise Problem(404, "not-predicted", "There is no model yet.")

    @route("POST", "/v1/projects/{project}/patches", "annotator")
    def place(self, request, project):
        patch = {
            "id": uuid.uuid4().hex, "project": project, "case": request.json["case"], "cycle": 0,
            "rank": len(self.patches) + 1, "box": request.json["box"], "group": request.json.get("group", ""),
            "class_name": None, "score": None, "why": {}, "sentence": "Placed by hand.", "origin": "placed",
            "state": "open", "revision": 0, "lease": None,
        }  # fmt: skip
        self.patches[patch["id"]] = patch
        return Reply(201, self.shown(patch, request))

    def shown(self, patch, request):
        lease = patch["lease"]
        if lease and lease["expires"] < time.time():
            lease = None
        return patch | {"lease": lease and lease | {"mine": lease["holder"] == request.person}}

    @route("GET", "/v1/projects/{project}/patches")
    def list_patches(self, request, project):
        state = request.query.get("state")
        found = [p for p in self.patches.values() if p["project"] == project and state in (None, p["state"])]
        return Reply(json=[self.shown(patch, request) for patch in found])

    @route("GET", "/v1/projects/{project}/queries")
    def queries(self, request, project):
        patches = self.list_patches(request, project).json
        return Reply(json={"cycle": 0, "model": None, "patches": patches, "missing": 0, "shortages": []})

    @route("GET", "/v1/patches/{patch}")
    def read_patch(self, request, patch):
        return Reply(json=self.shown(self.get("patches", patch), request))

    @route("POST", "/v1/projects/{project}/next", "annotator")
    def next(self, request, project):
        for patch in self.patches.values():
            if patch["project"] == project and patch["state"] == "open":
                lease = self.shown(patch, request)["lease"]
                if lease is None or lease["mine"]:
                    return self.lease(request, patch["id"])
        return Reply(204)

    @route("POST", "/v1/patches/{patch}/lease", "annotator")
    def lease(self, request, patch):
        found = self.get("patches", patch)
        lease = self.shown(found, request)["lease"]
        if lease and not lease["mine"]:
            raise Problem(409, "leased", f"{lease['holder']} works on this patch.", **lease)
        found["lease"] = {"holder": request.person, "expires": time.time() + 60}
        return Reply(json=self.shown(found, request))

    @route("PUT", "/v1/patches/{patch}/lease", "annotator")
    def heartbeat(self, request, patch):
        if self.shown(self.get("patches", patch), request)["lease"] is None:
            raise Problem(409, "lease-ended", "The lease has ended.")
        return self.lease(request, patch)

    @route("DELETE", "/v1/patches/{patch}/lease", "annotator")
    def release(self, request, patch):
        self.get("patches", patch)["lease"] = None
        return self.read_patch(request, patch)

    def record(self, request, patch, reading):
        body = request.json
        if body["kind"] == "labelled":
            _check_labels(body["label"], self.patches[patch]["box"]["size"])
        before = [one for one in self.answers if (one["patch"], one["reading"]) == (patch, reading)]
        record = {"patch": patch, "reading": reading, "annotator": request.person, "time": time.time()}
        self.answers.append(record | body | {"revision": len(before) + 1})
        self.emit(self.patches[patch]["project"], "answer.recorded", {"patch": patch})

    @route("PUT", "/v1/patches/{patch}/annotation", "annotator")
    def annotate(self, request, patch):
        found, yours = self.get("patches", patch), int(request.headers["if-match"].strip('"'))
        if yours != found["revision"]:
            newest = [one for one in self.answers if one["patch"] == patch][-1:]
            raise Problem(
                409, "revision", "Answered meanwhile.", current=newest[0] if newest else None, yours=yours
            )
        self.record(request, patch, 1)
        state = {"labelled": "answered"}.get(request.json["kind"], request.json["kind"])
        found.update(revision=found["revision"] + 1, state=state, lease=None)
        return Reply(json=self.shown(found, request))

    @route("POST", "/v1/patches/{patch}/second-reading", "annotator")
    def second(self, request, patch):
        self.get("patches", patch)
        self.record(request, patch, 2)
        return self.read_patch(request, patch)

    @route("GET", "/v1/patches/{patch}/agreement", "reviewer")
    def agreement(self, request, patch):
        readers = [one["annotator"] for one in self.answers if one["patch"] == patch]
        return Reply(json={"readers": readers, "dice": {"organ": 1.0}})

    @route("GET", "/v1/patches/{patch}/annotation")
    def annotation(self, request, patch):
        wanted = int(request.query.get("revision", self.get("patches", patch)["revision"]))
        for one in self.answers:
            if (one["patch"], one["revision"], one["reading"]) == (patch, wanted, 1):
                return Reply(json=one)
        raise Problem(404, "not-found", "There is no such answer.")

    @route("GET", "/v1/patches/{patch}/history")
    def history(self, request, patch):
        found = [one for one in self.answers if one["patch"] == patch]
        hidden = ("label", "unsure")
        return Reply(json=[{k: v for k, v in one.items() if k not in hidden} for one in found])

    @route("POST", "/v1/patches/{patch}/reopen", "annotator")
    def reopen(self, request, patch):
        found = self.get("patches", patch)
        nothing = {"seconds": 0.0, "edits": 0}
        self.answers.append({"patch": patch, "reading": 1, "annotator": request.person, "time": time.time(),
                             "kind": "reopened", "revision": found["revision"] + 1} | nothing)  # fmt: skip
        found.update(state="open", revision=found["revision"] + 1)
        return Reply(json=self.shown(found, request))

    @route("POST", "/v1/projects/{project}/cycles", "annotator")
    def start(self, request, project):
        mine = [one for one in self.answers if self.patches[one["patch"]]["project"] == project]
        if not mine:
            raise Problem(409, "nothing-annotated", "Annotate some patches first.")
        progress = {"stage": "train", "done": 1, "total": 10, "detail": "", "eta_seconds": None}
        job = {
            "id": uuid.uuid4().hex, "project": project, "kind": "cycle", "cycle": 1, "state": "running",
            "position": None, "progress": progress, "log": ["one"], "error": None, "created": time.time(),
            "started": time.time(), "ended": None,
        }  # fmt: skip
        self.jobs[job["id"]] = job
        return Reply(202, job)

    @route("GET", "/v1/projects/{project}/jobs")
    def list_jobs(self, request, project):
        return Reply(json=[job for job in self.jobs.values() if job["project"] == project])

    @route("GET", "/v1/jobs/{job}")
    def read_job(self, request, job):
        return Reply(json=self.get("jobs", job))

    @route("POST", "/v1/jobs/{job}/cancel", "annotator")
    def cancel(self, request, job):
        self.get("jobs", job).update(state="cancelled", ended=time.time())
        return Reply(202, self.jobs[job])


def _public(case):
    return {key: value for key, value in case.items() if key not in ("arrays", "project")}


def _triple(text):
    return tuple(int(number) for number in text.split(","))


def _image(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nrrd"
        path.write_bytes(content)
        return sitk.ReadImage(str(path))


def _grid(image):
    return {
        "shape": image.GetSize()[::-1], "spacing": image.GetSpacing()[::-1], "origin": image.GetOrigin(),
        "direction": image.GetDirection(),
    }  # fmt: skip


def _check_labels(label, size):
    raw = zlib.decompress(base64.b64decode(label["data"]))
    if label["shape"] != size or len(raw) != np.prod(size):
        raise Problem(422, "shape", "The labels do not fill the box.")


def _ranged(request, body, headers):
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    headers |= {"ETag": etag, "NNActive-SHA256": etag.strip('"'), "Content-Type": "application/octet-stream"}
    wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    if wanted and request.headers.get("if-range", etag) == etag:
        first = int(wanted[1])
        if first >= len(body):
            raise Problem(416, "range", "There are no such bytes.")
        headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        return Reply(206, headers=headers, body=body[first:])
    if "gzip" in request.headers.get("accept-encoding", "").split(", "):
        return Reply(headers=headers | {"Content-Encoding": "gzip"}, body=gzip.compress(body, 1))
    return Reply(headers=headers, body=body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _do(self):
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        headers = {key.lower(): value for key, value in self.headers.items()}
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        app = self.server.app
        reply = app.handle(Request(self.command, parts.path, query, headers, body))
        self.send_response(reply.status)
        sizes = {"Content-Length": str(len(reply.body))} if reply.status != 204 else {}
        own = {} if app.protocol is None else {"NNActive-Protocol": app.protocol}
        for name, value in (sizes | own | reply.headers).items():
            self.send_header(name, value)
        if not app.keep_alive:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and reply.status != 204:
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _do

    def log_message(self, *args):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        """Broken connections are what the tests are about."""


class Running:
    """A stand-in that listens on a port of its own.

    Args:
        app: what it serves; a new one when None.
        context: for TLS.
        port: a free one when 0.
    """

    def __init__(self, app=None, context=None, port=0):
        self.app = app or StandIn()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.app = self.app
        if context is not None:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
