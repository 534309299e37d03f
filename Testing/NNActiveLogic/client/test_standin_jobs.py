"""Jobs, which a real server would train for."""

from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.values import Box, JobState, Label


def test_a_cycle_can_be_started_watched_and_cancelled(client, image):
    project = client.create_project("p", [Label("organ")], ["CT"])
    case = client.add_case(project.id, [client.upload(image[0])])
    patch = client.place_patch(project.id, case.id, Box((0, 0, 0), (2, 2, 2)))
    client.annotate(patch.id, Answer(Kind.EMPTY), 0)
    job = client.start_cycle(project.id)
    assert not job.finished
    assert (job.progress.stage, job.progress.done, job.progress.total) == ("train", 1, 10)
    assert client.jobs(project.id) == (job,)
    assert client.cancel(job.id).state == JobState.CANCELLED
    assert client.job(job.id).finished
