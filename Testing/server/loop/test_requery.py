"""Another strategy for a trained cycle: the same answer as the cycle's own, without predicting again."""

from __future__ import annotations

import json

import pytest

from nnactive_server.core.errors import Cancelled, LoopError, QueryError
from nnactive_server.core.patch import Patch
from nnactive_server.loop import BusyProject, project_lock, requery
from nnactive_server.query import strategy_names
from testkit.numpy_engine import NumpyEngine, NumpyProfile


def refuse(*_):
    raise AssertionError("nothing has to be computed")


class Made:
    """Makes engines as the command does and remembers what they were asked for."""

    def __init__(self):
        self.engines = []

    def __call__(self, project, workdir, profile, monitor):
        self.engines.append(NumpyEngine(project, workdir, NumpyProfile(**profile), monitor))
        return self.engines[-1]

    @property
    def predicted(self):
        return [case for engine in self.engines for case in engine.predicted]

    @property
    def embedded(self):
        return [case for engine in self.engines for case, _ in engine.embedded]


@pytest.fixture
def made():
    return Made()


@pytest.fixture
def bench(make_bench):
    bench = make_bench("run")
    (bench.project.root / "run.json").write_text(json.dumps({"profile": NumpyProfile().to_json()}))
    return bench


def files(root, skip="nothing"):
    paths = [path for path in root.rglob("*") if path.is_file() and skip not in path.parts]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


@pytest.mark.parametrize("strategy", strategy_names())
def test_the_same_strategy_gives_the_same_proposal_bit_for_bit(bench, strategy):
    proposal = bench.cycle(strategy).run()
    before, computed = files(bench.project.root), (list(bench.engine.predicted), list(bench.engine.embedded))
    answer = requery(bench.project.root, strategy, refuse)
    assert list(answer.proposal) == list(proposal)
    assert [query.why for query in answer.proposal] == [query.why for query in proposal]
    assert answer.proposal.shortages == proposal.shortages
    assert (bench.engine.predicted, bench.engine.embedded) == computed
    assert files(bench.project.root) == before


@pytest.mark.parametrize("strategy", ["clasp-pe", "random"])
def test_boxes_the_cycle_kept_free_besides_are_kept_free_again(bench, make_bench, strategy):
    besides = {query.case: [query.patch] for query in make_bench("other").cycle(strategy).run()}
    cycle = bench.cycle(strategy)
    proposal = cycle.run(besides=besides)
    assert list(requery(bench.project.root, strategy, refuse).proposal) == list(proposal)
    cycle.folder.besides.write_text('{"case_0": [[1, 2]]}')
    with pytest.raises(LoopError, match=r"besides\.json: no valid boxes"):
        requery(bench.project.root, strategy, refuse)


def test_another_strategy_answers_as_if_it_had_been_asked_first(bench, make_bench):
    bench.cycle("bald").run()
    other = make_bench("other")
    own = other.cycle("clasp-pe").run()
    answer = requery(bench.project.root, "clasp-pe", refuse)
    assert list(answer.proposal) == list(own)
    assert answer.computed == 0


def test_embeddings_are_computed_once_and_kept_apart(bench, make_bench, made):
    cycle = bench.cycle("bald")
    cycle.run()
    before = files(bench.project.root)
    answer = requery(bench.project.root, "coreset", made)
    assert made.predicted == []
    assert sorted(made.embedded) == sorted(bench.project.cases)
    assert answer.computed == len(bench.project.cases)
    after = files(bench.project.root, skip="asked")
    assert after.pop(bench.project.root / ".lock")[1] == b""
    assert after == before
    assert list(requery(bench.project.root, "coreset", refuse).proposal) == list(answer.proposal)
    assert list(make_bench("own").cycle("coreset").run()) == list(answer.proposal)


def test_another_patch_size_needs_other_cells_but_no_other_maps(bench, made):
    proposal = bench.cycle("coreset").run()
    answer = requery(bench.project.root, "coreset", made, changes={"patch_size": (8, 9, 8)})
    assert {query.size for query in answer.proposal} == {(8, 9, 8)}
    assert made.predicted == []
    assert len(made.embedded) == 5
    assert list(requery(bench.project.root, "coreset", refuse).proposal) == list(proposal)
    requery(bench.project.root, "badge", made, changes={"patch_size": (8, 9, 8)})
    assert made.predicted == []


def test_cases_without_maps_are_predicted_once(bench, made):
    cycle = bench.cycle("random")
    cycle.run()
    first = requery(bench.project.root, "bald", made)
    assert sorted(made.predicted) == sorted(bench.project.cases)
    assert not (cycle.folder.path / "maps").exists()
    assert list(requery(bench.project.root, "bald", refuse).proposal) == list(first.proposal)


def test_an_older_cycle_is_asked_the_question_of_its_time(bench, made):
    own = bench.cycle("bald").run()
    bench.annotate(1, {own[0].case: own[0].patch})
    second = bench.cycle("bald", number=1).run()
    kept = {query.case for query in own}
    answer = requery(bench.project.root, "bald", made, cycle=0)
    assert list(answer.proposal) == list(own)
    assert sorted(made.predicted) == sorted(set(bench.project.cases) - kept)
    newest = requery(bench.project.root, "bald", refuse)
    assert newest.cycle == 1
    assert list(newest.proposal) == list(second)


def test_an_interrupted_question_keeps_what_it_computed(bench, made, recorder):
    bench.cycle("random").run()
    with pytest.raises(Cancelled):
        requery(bench.project.root, "bald", made, monitor=recorder("predict", limit=2))
    requery(bench.project.root, "bald", made)
    assert sorted(made.predicted) == sorted(bench.project.cases)


def test_test_cases_are_never_proposed(bench):
    bench.cycle("bald").run()
    split = {"pool": ["case_1", "case_4"], "test": ["case_0", "case_2", "case_3"]}
    (bench.project.root / "split.json").write_text(json.dumps(split))
    answer = requery(bench.project.root, "random", refuse, changes={"query_size": 20})
    assert {query.case for query in answer.proposal} == {"case_1", "case_4"}


def test_random_foreground_looks_at_the_prediction(bench):
    bench.cycle("bald").run()
    answer = requery(bench.project.root, "random-fg-66", refuse, changes={"query_size": 12})
    for query in answer.proposal:
        if query.group != "plain":
            assert query.why.class_shares.get(int(query.group.removeprefix("class-")), 0) > 0
    assert {query.group for query in answer.proposal} > {"plain"}


def test_parameters_and_changes_change_the_answer(bench):
    bench.cycle("bald").run()
    plain = requery(bench.project.root, "power-bald", refuse)
    seeded = requery(bench.project.root, "power-bald", refuse, changes={"seed": 77, "query_size": 2})
    strict = requery(bench.project.root, "power-bald", refuse, strategy_parameters={"beta": 90.0})
    assert len(seeded.proposal) == 2
    assert list(plain.proposal)[:2] != list(seeded.proposal)
    assert strict.to_json()["parameters"]["beta"] == 90.0
    assert [q.patch for q in strict.proposal] != [q.patch for q in plain.proposal]


def test_the_document_holds_what_programs_read(bench):
    cycle = bench.cycle("clasp-pe")
    cycle.run()
    document = requery(bench.project.root, "clasp-pe", refuse).to_json()
    promised = {"strategy", "parameters", "cycle", "query_size", "missing", "shortages", "queries", "seconds"}
    assert promised <= set(document)
    assert document["queries"] == json.loads(cycle.folder.queries.read_text())
    assert json.loads(json.dumps(document))["stride"] == [1, 1, 1]


def test_stored_maps_answer_while_a_run_goes_on(bench, made):
    bench.cycle("bald").run()
    with project_lock(bench.project.root):
        requery(bench.project.root, "power-pe", refuse)
        with pytest.raises(BusyProject, match=r"another process.*5 cases have to be computed"):
            requery(bench.project.root, "coreset", made)
    assert made.engines == []
    requery(bench.project.root, "coreset", made)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"strategy": "guess"}, "'guess' is unknown"),
        ({"strategy_parameters": {"gamma": 1}}, "gamma"),
        ({"strategy_parameters": {"beta": 0}}, "beta"),
        ({"changes": {"query_size": -2}}, "query_size -2"),
        ({"changes": {"patch_size": (4, 4)}}, r"\(4, 4\)"),
        ({"changes": {"patch_size": (4, 0, 4)}}, r"\(4, 0, 4\)"),
        ({"changes": {"overlap": 1.5}}, "overlap 1.5"),
        ({"cycle": 7}, "cycle 7 is not trained; the newest trained one is 0"),
        ({"cycle": -1}, "cycle -1 is not trained"),
    ],
)
def test_wrong_questions_are_named_and_leave_nothing(bench, made, options, told):
    bench.cycle("random").run()
    before = files(bench.project.root)
    with pytest.raises((QueryError, LoopError), match=told):
        requery(bench.project.root, options.pop("strategy", "bald"), made, **options)
    assert files(bench.project.root) == before
    assert made.engines == []


def test_a_project_without_a_trained_cycle_is_named(bench, made):
    bench.cycle("bald").update_labels()
    with pytest.raises(LoopError, match="no cycle has finished training"):
        requery(bench.project.root, "bald", made)


def test_without_a_profile_nothing_can_be_computed(bench, made):
    bench.cycle("random").run()
    (bench.project.root / "run.json").write_text("{}")
    with pytest.raises(LoopError, match=r"run\.json: has no 'profile'"):
        requery(bench.project.root, "bald", made)
    assert len(requery(bench.project.root, "random", made).proposal) == 3


def test_a_cycle_of_an_older_version_is_asked_with_the_defaults_of_its_time(bench):
    cycle = bench.cycle("bald")
    own = cycle.run()
    document = json.loads(cycle.folder.settings.read_text())
    del document["request"]["overlap"]
    cycle.folder.settings.write_text(json.dumps(document))
    assert list(requery(bench.project.root, "bald", refuse).proposal) == list(own)
    assert list(bench.cycle("bald").run()) == list(own)
    cycle.folder.settings.write_text('{"request": {"sise": 3}}')
    with pytest.raises(LoopError, match=r"settings\.json: no valid request"):
        requery(bench.project.root, "bald", refuse)


def test_what_was_asked_of_an_older_cycle_goes_with_its_maps(bench, made):
    cycle = bench.cycle("bald")
    own = cycle.run()
    requery(bench.project.root, "coreset", made)
    assert cycle.folder.asked.path.exists()
    bench.annotate(1, {own[0].case: Patch((1, 1, 1), (4, 4, 4))})
    bench.cycle("bald", number=1).run()
    assert not cycle.folder.asked.path.exists()
