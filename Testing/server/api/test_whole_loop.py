"""The main job, over HTTP: from an empty server to further batches, with real nnU-Net on tiny nets."""

import numpy as np
import pytest

from nnactive_server.dataset import RawDataset, read_loops
from nnactive_server.store import Store
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.errors import Conflict
from NNActiveLogic.client.values import Box, Label
from testkit.numpy_engine import make_source

PATCH = [4, 4, 4]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """Small, completely labelled volumes, which stand for the patients."""
    return make_source(tmp_path_factory.mktemp("truth"), cases=4)


@pytest.fixture(scope="module")
def ready(ann, truth):
    """A project with uploaded cases; the label map of each case by its id."""
    project = ann.create_project(
        "the whole loop",
        [Label(name) for name in truth.labels.classes],
        ["MR"],
        patch_size=PATCH,
        query_size=3,
        strategy="clasp-pe",
        profile="smoke",
        planned_cycles=3,
    )
    labels = {}
    for case in truth.cases:
        made = ann.add_case(project.id, [ann.upload(truth.image_paths(case)[0])])
        labels[made.id] = truth.read_label(case).array
    return project, labels


def answer_all(client, project, labels):
    """A clinician who knows the truth; how many patches were open."""
    count = 0
    while (patch := client.next_patch(project.id)) is not None:
        crop = labels[patch.case][patch.box.slices]
        client.annotate(patch.id, Answer(Kind.LABELLED, crop, seconds=6.0, edits=1), patch.revision)
        count += 1
    return count


def train(client, project, early=False):
    """Start a cycle and wait for its end."""
    job = client.start_cycle(project.id, early)
    seen, stages = client.events(0).last, set()
    while not (now := client.job(job.id)).finished:
        stages |= {now.progress.stage} if now.progress else set()
        seen = client.events(seen, wait=5, project=project.id).last
    assert now.state == "succeeded", (now.error, now.log)
    return now


def test_a_cycle_needs_answers(ann, ready):
    with pytest.raises(Conflict) as early:
        ann.start_cycle(ready[0].id)
    assert early.value.code == "nothing-annotated"


@pytest.mark.slow
def test_from_an_empty_server_to_a_third_batch(live, ann, ben, ready, truth):
    project, labels = ready
    live.call("POST", f"/v1/projects/{project.id}/start-patches", json={"count": 3}).raise_for_status()
    middle = {case: [int(n) // 2 - 2 for n in label.shape] for case, label in labels.items()}
    for case, start in middle.items():
        ben.place_patch(project.id, case, Box(tuple(start), tuple(PATCH)), truth.labels.classes[0])
    assert answer_all(ann, project, labels) >= 5

    train(ann, project)
    first = ann.queries(project.id)
    assert (first.cycle, first.model) == (1, "cycle-000")
    assert len(first.patches) == 3
    assert all(one.sentence and one.why and one.box.size == tuple(PATCH) for one in first.patches)

    for case in ann.cases(project.id):
        assert case.model == "cycle-000"
        prediction = ann.prediction(case.id)
        assert prediction.info.model == "cycle-000"
        assert prediction.values.shape == case.shape
        entropy = ann.uncertainty(case.id, "predictive_entropy").values
        assert 0 <= entropy.min() <= entropy.max() <= np.log(3) + 1e-2

    late = ben.place_patch(project.id, next(iter(labels)), Box((0, 0, 0), (2, 2, 2)))
    assert late.cycle == 1
    assert answer_all(ann, project, labels) == 4
    revised = ann.patches(project.id, cycle=0)[0]
    ann.annotate(revised.id, Answer(Kind.EMPTY), revised.revision)
    before = ann.events(0).last
    train(ann, project, early=True)

    told = [
        one.payload for one in ann.events(before, project=project.id).events if one.kind == "batch.proposed"
    ]
    assert [(one["cycle"], one["early"]) for one in told] == [(2, True), (2, False)]
    second = ann.queries(project.id)
    assert (second.cycle, second.model, len(second.patches)) == (2, "cycle-001", 3)
    check_no_overlap(ann.patches(project.id))
    check_folder(live, project, labels, revised)
    found = ann.statistics(project.id)
    assert [one.cycle for one in found.cycles] == [0, 1]
    assert found.cycles[1].patches > found.cycles[0].patches
    assert set(found.cycles[0].seconds) >= {"train", "predict", "query", "evaluate"}
    assert found.cost["minutes"] > 0
    with Store(live.data) as store:
        assert store.check() == []


def check_no_overlap(patches):
    """No patch of a query overlaps any other patch of its case."""
    queried = [one for one in patches if one.origin == "query"]
    for one in queried:
        for other in patches:
            if other.case == one.case and other.id != one.id:
                a, b = one.box, other.box
                shared = [
                    min(p + n, q + m) - max(p, q)
                    for p, n, q, m in zip(a.start, a.size, b.start, b.size, strict=True)
                ]
                assert min(shared) <= 0


def check_folder(live, project, labels, revised):
    """The project is a plain folder whose labels are what was said inside boxes, and ignore elsewhere."""
    dataset = RawDataset.open(live.data / "projects" / project.id)
    loops = read_loops(dataset.root)
    assert len(loops) == 2
    with Store(live.data) as store:
        ids = {case.name: case.id for case in store.cases.list(project.id)}
        for name in dataset.cases:
            expected = np.full(labels[ids[name]].shape, dataset.labels.ignore)
            boxes = [p.box for p in store.patches.list(project.id) if p.case == ids[name] and p.cycle < 2]
            for box in boxes:
                expected[box.slices] = labels[ids[name]][box.slices]
            if revised.case == ids[name]:
                expected[revised.box.slices] = 0
            if dataset.has_label(name):
                np.testing.assert_array_equal(dataset.read_label(name).array, expected)
            else:
                assert not boxes


@pytest.mark.slow
def test_a_second_training_at_the_same_time_is_refused_and_a_first_can_be_cancelled(ann, ready):
    project, labels = ready
    answer_all(ann, project, labels)
    job = ann.start_cycle(project.id)
    with pytest.raises(Conflict) as twice:
        ann.start_cycle(project.id)
    assert twice.value.code == "running"
    assert twice.value.document["current"]["id"] == job.id
    ann.cancel(job.id)
    seen = 0
    while not (now := ann.job(job.id)).finished:
        seen = ann.events(seen, wait=5, project=project.id).last
    assert now.state == "cancelled"
    assert ann.start_cycle(project.id).id == job.id  # it goes on with what was stopped
    while not (now := ann.job(job.id)).finished:
        seen = ann.events(seen, wait=5, project=project.id).last
    assert now.state == "succeeded", now.error
    assert ann.queries(project.id).model == "cycle-002"
