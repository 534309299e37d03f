"""A training that is asked for first patches before its end."""

import pytest

from nnactive_server.store import NewPatch, Store
from NNActiveLogic.client.answers import Answer, Kind


@pytest.fixture
def answered(ann, project, patch):
    """The project, with something to train on."""
    ann.annotate(patch.id, Answer(Kind.EMPTY), 0)
    return project


@pytest.mark.parametrize(
    ("words", "early"), [({}, False), ({"early": True}, True), ({"early": False}, False)]
)
def test_a_training_knows_whether_first_patches_are_wanted(live, ann, answered, words, early):
    job = ann.start_cycle(answered.id, **words)
    ann.cancel(job.id)
    with Store(live.data) as store:
        assert store.jobs.get(job.id).params == {"cycle": 0, "early": early}


@pytest.mark.parametrize("body", [{"early": "yes"}, {"early": 1}, {"soon": True}, [True]])
def test_a_wish_that_is_not_understood_starts_nothing(live, ann, answered, body):
    reply = live.call("POST", f"/v1/projects/{answered.id}/cycles", json=body)
    assert reply.status_code == 422
    assert ann.jobs(answered.id) == ()


def test_an_early_patch_says_so(live, ann, answered, patch):
    assert not ann.patch(patch.id).early
    with Store(live.data) as store:
        stored = store.patches.get(patch.id)
        store.patches.propose(answered.id, 1, [NewPatch(stored.case, stored.box)], early=True)
    (found,) = ann.queries(answered.id).patches
    assert (found.early, found.cycle) == (True, 1)
