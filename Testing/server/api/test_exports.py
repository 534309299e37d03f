"""Taking model and labels home over the API."""

from __future__ import annotations

import pytest

from nnactive_server.jobs.layout import export_file
from nnactive_server.store import JobState, Store
from testkit.busy_clinic import result, run_job, train


@pytest.fixture
def trained(live, project):
    """A project with one training."""
    with Store(live.data) as store:
        train(store, project.id, result(0, 3, (0.5, 0.4), ("organ", "lesion")))
    return project


@pytest.fixture
def gathered(live, trained):
    """An export that is done: its job, and what is in the file."""
    with Store(live.data) as store:
        job, attempt = run_job(store, trained.id, "export", {})
        path = export_file(live.data, trained.id, job)
        path.parent.mkdir(parents=True)
        content = bytes(range(256)) * 4000
        path.write_bytes(content)
        store.jobs.finish(job, attempt, JobState.SUCCEEDED, result={})
    return job, content


def test_before_there_is_a_model_it_is_refused(live, project):
    reply = live.call("POST", f"/v1/projects/{project.id}/export", who="ben")
    assert (reply.status_code, reply.json()["code"]) == (409, "no-model")


def test_an_export_that_goes_on_is_taken(live, trained):
    with Store(live.data) as store:
        job, attempt = run_job(store, trained.id, "export", {})
        reply = live.call("POST", f"/v1/projects/{trained.id}/export", who="ben")
        assert (reply.status_code, reply.json()["id"], reply.json()["kind"]) == (202, job, "export")
        store.jobs.finish(job, attempt, JobState.FAILED, error="stopped by the test")


def test_a_new_one_is_begun_and_says_why_it_fails(live, ben, trained):
    """There is no model on the disk: the store only says so."""
    job = ben.start_export(trained.id)
    assert (job.kind, job.cycle) == ("export", None)
    for _ in range(600):
        job = ben.job(job.id)
        if job.finished:
            break
        live.call("GET", "/v1/events?after=9007199254740992&wait=0.1")
    assert job.state == "failed"
    assert job.error
    assert live.call("GET", f"/v1/jobs/{job.id}/file").status_code == 404


def test_the_file_comes_whole_and_from_where_it_broke_off(live, ben, gathered, tmp_path):
    job, content = gathered
    seen = []
    ben.save_export(job, tmp_path / "whole.zip", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "whole.zip").read_bytes() == content
    assert seen[-1] == (len(content), len(content))
    reply = live.call("GET", f"/v1/jobs/{job}/file")
    assert reply.headers["content-type"] == "application/zip"
    (tmp_path / "rest.zip.part").write_bytes(content[:1000])
    (tmp_path / "rest.zip.part.etag").write_text(reply.headers["etag"])
    seen.clear()
    ben.save_export(job, tmp_path / "rest.zip", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "rest.zip").read_bytes() == content
    again = live.call("GET", f"/v1/jobs/{job}/file", headers={"Range": "bytes=1000-"})
    assert (again.status_code, again.content) == (206, content[1000:])


def test_other_jobs_have_no_file(live, trained):
    with Store(live.data) as store:
        (job,) = store.jobs.list(trained.id)
    assert live.call("GET", f"/v1/jobs/{job.id}/file").status_code == 404
