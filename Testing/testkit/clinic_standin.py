"""The client's stand-in server with a project full of patches, and trainings that a test ends."""

# ruff: noqa: ARG002  (handlers look alike)

import io
import itertools
import json
import time
import uuid
import zipfile
from collections import Counter

import numpy as np

from NNActiveLogic.client.api import Client
from standin import Problem, Reply, StandIn, _ranged, _triple, route

SIZE = (4, 5, 6)
SHAPE = (8, 10, 12)


class ClinicStandIn(StandIn):
    """Two cases with patches of `SIZE` that fill them; `truth` of a patch is what a clinician would draw."""

    def __init__(self, patches=6, cases=2):
        super().__init__()
        self.model = None
        self.versions = []
        self.project = uuid.uuid4().hex
        self.projects[self.project] = {
            "id": self.project, "name": "clinic", "channels": ["CT"], "patch_size": SIZE, "query_size": 6,
            "labels": [{"name": "organ", "colour": "#ff0000"}, {"name": "lesion"}], "strategy": "clasp-pe",
            "strategy_parameters": {}, "profile": "smoke", "profile_overrides": {},
        }  # fmt: skip
        for number in range(cases):
            self.add_clinic_case(number)
        self.grow(patches)

    def add_clinic_case(self, number):
        voxels = np.random.default_rng(number).integers(-1000, 1000, SHAPE).astype("<i2")
        case = f"case{number}"
        self.cases[case] = {
            "id": case, "project": self.project, "name": f"patient {number}", "shape": SHAPE,
            "spacing": (3.0, 1.0, 1.0), "origin": (0.0, 0.0, 0.0),
            "direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
            "annotated_patches": 0, "open_patches": 0, "predicted_quality": None, "model": None,
            "arrays": [voxels],
        }  # fmt: skip

    def grow(self, count, cycle=0, early=False):
        """More patches, in turn in each case."""
        cases = sorted(self.cases)
        starts = itertools.cycle(itertools.product((0, 4), (0, 5), (0, 6)))
        for rank, start in zip(range(1, count + 1), starts, strict=False):
            patch = f"{'early' if early else 'p'}{cycle}x{rank}"
            self.patches[patch] = {
                "id": patch, "project": self.project, "case": cases[rank % len(cases)], "cycle": cycle,
                "rank": rank, "box": {"start": list(start), "size": list(SIZE)}, "group": "",
                "class_name": None, "score": None, "why": None, "sentence": "Less certain here.",
                "origin": "query", "state": "open", "revision": 0, "lease": None, "early": early,
            }  # fmt: skip
        self.emit(self.project, "batch.proposed", {"cycle": cycle, "patches": count})

    def client(self, url, name="ann", **options):
        return Client(url, f"token-{name}", **options)

    def held_by(self, name="ann"):
        now = time.time()
        leases = [(one["id"], one["lease"]) for one in self.patches.values() if one["lease"]]
        return {patch for patch, lease in leases if lease["holder"] == name and lease["expires"] > now}

    def by_patch(self):
        return Counter(one["patch"] for one in self.answers)

    # Routes that know more than those of the client's tests

    @route("POST", "/v1/projects/{project}/next", "annotator")
    def next(self, request, project):
        besides = request.query.get("besides", "").split(",")
        for patch in sorted(self.patches.values(), key=lambda one: (one["cycle"], one["rank"])):
            if patch["state"] == "open" and patch["id"] not in besides:
                lease = self.shown(patch, request)["lease"]
                if lease is None or lease["mine"]:
                    return self.lease(request, patch["id"])
        return Reply(204)

    @route("DELETE", "/v1/patches/{patch}/lease", "annotator")
    def release(self, request, patch):
        lease = self.get("patches", patch)["lease"]
        if lease and lease["holder"] == request.person:
            self.patches[patch]["lease"] = None
        return self.read_patch(request, patch)

    @route("GET", "/v1/cases/{case}/prediction")
    def prediction(self, request, case):
        return self.array(request, case, np.uint8(1) * (self.model_array(case) > 0.5).astype(np.uint8))

    @route("GET", "/v1/cases/{case}/maps/{measure}")
    def map(self, request, case, measure):
        return self.array(request, case, self.model_array(case).astype("<f4"))

    def model_array(self, case):
        if self.model is None:
            raise Problem(404, "not-predicted", "There is no model yet.")
        found = self.get("cases", case)
        return np.random.default_rng(len(self.versions)).random(found["shape"])

    def array(self, request, case, whole):
        found = self.get("cases", case)
        start, size = _triple(request.query.get("start", "0,0,0")), request.query.get("size")
        stop = np.add(start, _triple(size)) if size else whole.shape
        crop = np.ascontiguousarray(whole[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))])
        header = {key: found[key] for key in ("spacing", "origin", "direction")}
        header |= {
            "dtype": crop.dtype.newbyteorder("<").str, "shape": crop.shape, "start": start,
            "model": self.model,
        }  # fmt: skip
        return _ranged(request, crop.tobytes(), {"NNActive-Array": json.dumps(header)})

    @route("GET", "/v1/projects/{project}/statistics")
    def statistics(self, request, project):
        cycles = [
            {
                "cycle": number, "patches": 5 * (number + 1), "foreground_voxels": 10,
                "minutes": 3.0 * number, "dice_per_class": {"organ": 0.5 + 0.1 * number, "lesion": None},
                "fold_spread": {"organ": 0.05, "lesion": None}, "seconds": {}, "model": version,
            }
            for number, version in enumerate(self.versions)
        ]  # fmt: skip
        return Reply(json={"cycles": cycles, "balance": {"organ": 1}, "cost": {"patches": 4}})

    def tell(self, event, subject, **payload):
        """An event that names what it is about."""
        self.emit(self.project, event, payload)
        self.events[-1]["subject"] = subject

    def report(self, job, stage, done, total, eta):
        progress = {"stage": stage, "done": done, "total": total, "detail": ""}
        self.jobs[job].update(state="running", progress=progress | {"eta_seconds": eta})
        self.tell("job.progress", job, attempt=1, eta=eta, **progress)

    def finish(self, job, patches=3):
        """A training succeeds: a new model, and a new batch."""
        self.versions.append(f"cycle-{len(self.versions):03d}")
        self.model = self.versions[-1]
        gone = [i for i, p in self.patches.items() if p["early"] and p["state"] == "open" and not p["lease"]]
        for patch in gone:
            del self.patches[patch]
        self.grow(patches, cycle=len(self.versions))
        self.jobs[job].update(state="succeeded", ended=time.time())
        self.tell("job.succeeded", job, kind="cycle", attempt=1, error="")

    @route("POST", "/v1/jobs/{job}/resume", "annotator")
    def resume(self, request, job):
        self.get("jobs", job).update(state="running", ended=None)
        return Reply(202, self.jobs[job])

    # Export

    export_state = "succeeded"

    @route("POST", "/v1/projects/{project}/export", "annotator")
    def start_export(self, request, project):
        now, job = time.time(), uuid.uuid4().hex
        self.jobs[job] = {
            "id": job, "project": project, "kind": "export", "cycle": None, "state": self.export_state,
            "position": None, "progress": None, "log": [], "error": None, "created": now, "started": now,
            "ended": None,
        }  # fmt: skip
        return Reply(202, self.jobs[job])

    @route("GET", "/v1/jobs/{job}/file", "annotator")
    def read_export(self, request, job):
        self.get("jobs", job)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("model/plans.json", "{}")
            archive.writestr("labels/case0.nii.gz", b"labels")
        return _ranged(request, packed.getvalue(), {})
