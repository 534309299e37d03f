"""Measures a server while it trains, and prints a markdown table; `make bench-server`.

    python Testing/benchmarks/server.py            about six minutes on two cores
    python Testing/benchmarks/server.py --quick    small images, few patches: shows that it runs

A real server (`nnactive serve`) runs a real cycle with the profile fast-cpu on phantoms, and trains until the
end of the measurement. Twenty people in four processes ask it on the same machine, so the times hold what
training, server and people take from each other. Beside each row stands what the same machine does at that
moment without our server. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import server_volumes as volumes
from apart import apart
from server_work import PEOPLE, answer_body, blobs, idle_server, least_answer, visit
from table import head, line, machine_line

from faulty_proxy import GOOD, Fault, FaultyProxy
from nnactive_server.core.geometry import Geometry
from nnactive_server.core.mapfiles import MAPS, QUERIES, cycle_path, map_folder, map_path, write_quality
from nnactive_server.core.patch import Patch
from nnactive_server.core.voxels import open_voxels, save_voxels
from nnactive_server.jobs.layout import project_root
from nnactive_server.store import NewPatch, Origin, Role, Store
from nnactive_server.study.phantom import make_phantoms
from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.values import Box, Label
from testkit import busy_clinic
from testkit.annotators import Annotators, Work, tally
from testkit.faults import free_port, wait_until
from testkit.live_server import LiveServer

LONG_TRAINING = {"members": 1, "iterations": 1_000_000, "first_iterations": 1_000_000}


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        volume: of the image that is sent up and of the map (z, y, x).
        box: of crops and answers.
        patches: that the annotators answer under faults.
        kills: of the web process meanwhile.
        cases: of the project in whose lists people look.
        seconds: of a measurement of one kind of request.
        repeats: of transfers.
    """

    volume: tuple[int, int, int] = (300, 512, 512)
    box: tuple[int, int, int] = (64, 128, 128)
    patches: int = 1000
    kills: int = 8
    cases: int = 100
    seconds: float = 20.0
    repeats: int = 3


QUICK = Scale((40, 64, 64), (16, 32, 32), 60, 1, 10, 4.0, 1)


class Bench:
    """A server that trains, with people and projects.

    Args:
        folder: an empty one.
        scale: see `Scale`.
    """

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.folder, self.scale = folder, scale
        self.server = LiveServer(folder / "data", ["--port", str(free_port())])
        with Store(self.server.data) as store:
            made = [store.tokens.create(f"person {n}", Role.ANNOTATOR) for n in range(PEOPLE)]
        self.people = {token.name: secret for token, secret in made}
        self.tokens = list(self.people.values())
        self.bodies = [answer_body(labels) for labels in self.labels]

    @property
    def labels(self) -> list[np.ndarray]:
        """Answers to choose from."""
        return [blobs(seed, self.scale.box) for seed in range(8)]

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        assert self.server.process is not None
        return self.server.process.pid

    @property
    def admin(self) -> str:
        return self.server.tokens["ann"]

    def rows(self) -> Iterator[str]:
        """The table, as far as it is measured."""
        with self.server:
            yield self.at_rest()
            with self.training() as steps:
                yield from self.requests()
                yield from self.answers()
                yield from self.crops()
                yield from self.transfers()
                yield line("training during all of this", "", steps(), "", "")
                yield from self.stress()

    @contextmanager
    def training(self) -> Iterator[Callable[[], str]]:
        """A cycle that trains until the block ends; gives a function that tells how far it is."""
        client = Client(self.server.url, self.admin)
        truth = make_phantoms(self.folder / "phantoms", cases=4)
        project = client.create_project(
            "training",
            [Label(name) for name in truth.labels.classes],
            list(truth.channels),
            patch_size=[16, 16, 16],
            profile="fast-cpu",
            profile_overrides=LONG_TRAINING,
        )
        for name in truth.cases:
            case = client.add_case(project.id, [client.upload(truth.image_paths(name)[0])])
            start = tuple(n // 2 - 8 for n in case.shape)
            patch = client.place_patch(project.id, case.id, Box(start, (16, 16, 16)))
            crop = truth.read_label(name).array[patch.box.slices]
            client.annotate(patch.id, Answer(Kind.LABELLED, crop), patch.revision)
        job = client.start_cycle(project.id).id

        def done() -> int:
            progress = client.job(job).progress
            return progress.done if progress is not None and progress.stage == "train" else 0

        wait_until(done)
        begins, before = time.monotonic(), done()

        def steps() -> str:
            assert client.job(job).state == "running", client.job(job)
            seconds, count = time.monotonic() - begins, done() - before
            return f"{count} steps in {seconds:.0f} s, {seconds / max(1, count):.2f} s each"

        yield steps
        if not client.job(job).finished:  # the kills may have ended it
            client.cancel(job)
            wait_until(lambda: client.job(job).finished)

    def at_rest(self) -> str:
        """Memory of the web process that has just begun."""
        self.server.call("GET", "/v1/health").raise_for_status()
        time.sleep(5)  # by then it has loaded all that it loads by itself
        resident, shared = volumes.status_bytes(self.pid, "VmRSS"), volumes.proportional_bytes(self.pid)
        return line(
            "web process at rest", "120 MB", f"{resident / 1e6:.0f} MB (PSS {shared / 1e6:.0f} MB)", "", ""
        )

    def clinic(self) -> str:
        """A project in the middle of the work: its id."""
        names = [name for name, _ in busy_clinic.CLASSES]
        with Store(self.server.data) as store:
            project = store.projects.create("clinic", busy_clinic.settings())
            cases = busy_clinic.add_cases(store, project.id, self.scale.cases)
            quality = {f"case-{n + 1:04d}": 0.9 for n in range(self.scale.cases)}
            for cycle in range(5):
                for number, patch in enumerate(busy_clinic.propose(store, project.id, cycle, 20, cases)):
                    busy_clinic.answer(store, patch, number)
                about = busy_clinic.result(cycle, 20 * cycle + 20, (0.6, 0.5, 0.4), names)
                busy_clinic.train(store, project.id, about | {"quality": quality})
            busy_clinic.propose(store, project.id, 5, 2 * PEOPLE, cases)
        return project.id

    def many_patches(self, name: str, count: int) -> str:
        """A project with many open patches in an image as large as the volume: its id."""
        shape, size = self.scale.volume, self.scale.box
        grid = Geometry(shape, (1.0, 0.8, 0.8), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
        places = random.Random(1)
        with Store(self.server.data) as store:
            project = store.projects.create(name, busy_clinic.settings())
            case = store.cases.add(project.id, "case-0001", grid, [store.blobs.put(b"voxels")])
            starts = [
                tuple(places.randrange(n - s + 1) for n, s in zip(shape, size, strict=True))
                for _ in range(count)
            ]
            batch = [NewPatch(case.id, Patch(start, size)) for start in starts]
            store.patches.propose(project.id, 0, batch, Origin.START)
        return project.id

    def requests(self) -> Iterator[str]:
        """Small requests: one a second and person, then as fast as they can."""
        project, scale = self.clinic(), self.scale
        calm = visit(self.port, self.tokens, "mixed", scale.seconds, 1.0, project=project)
        with idle_server() as port:
            nothing = visit(port, self.tokens, "nothing", scale.seconds / 3, 1.0, bytes=1000).all
            for what, times in sorted(calm.by_kind.items()):
                ratio = f"{times.quantile(95) / nothing.quantile(95):.1f}x"
                what = f"{what}, {len(times.samples)} of them"
                yield line(what, "50 ms", str(times), f"nothing under uvicorn {nothing}", ratio)
            busy = visit(self.port, self.tokens, "mixed", scale.seconds / 3, 0.0, project=project)
            free = visit(port, self.tokens, "nothing", scale.seconds / 3, 0.0, bytes=1000)
        yield line(
            "all of these without pauses",
            "",
            f"{busy.rate:.0f}/s, {busy.all}",
            f"nothing under uvicorn {free.rate:.0f}/s, {free.all}",
            f"{free.rate / busy.rate:.1f}x",
        )

    def answers(self) -> Iterator[str]:
        """Answers of large patches."""
        project = self.many_patches("answers", int(PEOPLE * self.scale.seconds))
        about = {"project": project, "bodies": self.bodies}
        times = visit(self.port, self.tokens, "answers", self.scale.seconds, 1.0, **about).by_kind["answer"]
        least = apart(least_answer, self.bodies, self.folder)[0]
        middle, late = np.quantile(least, (0.5, 0.95))
        yield line(
            f"answer of {shown(self.scale.box)} voxels, 7 % foreground, {len(times.samples)} of them",
            "100 ms, 10 kB",
            f"{times}, {times.sent / 1000:.1f} kB sent",
            f"unpacked, counted, file and row on disk {1000 * middle:.1f} / {1000 * late:.1f} ms",
            f"{times.quantile(95) / late:.1f}x",
        )

    def crops(self) -> Iterator[str]:
        """Boxes of a map that lies compressed on disk."""
        scale = self.scale
        project = self.many_patches("maps", 1)
        with Store(self.server.data) as store:
            case = store.cases.by_name(project, "case-0001")
        put_maps(project_root(self.server.data, project), case.name, scale.volume)
        path = f"/v1/cases/{case.id}/maps/predictive_entropy"
        about = {"path": path, "shape": scale.volume, "size": scale.box}
        bytes_of_box = 2 * int(np.prod(scale.box))
        with idle_server() as port:
            for people, pause in ((1, 0.1), (PEOPLE, 1.0)):
                tokens, seconds = self.tokens[:people], scale.seconds / 2
                times = visit(self.port, tokens, "crops", seconds, pause, **about).all
                nothing = visit(port, tokens, "nothing", seconds / 2, pause, bytes=bytes_of_box).all
                yield line(
                    f"{shown(scale.box)} of a float16 map of {shown(scale.volume)}, {people} at a time",
                    "100 ms",
                    f"{times}, {bytes_of_box / 1e6:.1f} MB",
                    f"as many bytes of nothing under uvicorn {nothing}",
                    f"{times.quantile(95) / nothing.quantile(95):.1f}x",
                )

    def transfers(self) -> Iterator[str]:
        """Whole volumes up and down again."""
        client, url, token = Client(self.server.url, self.admin), self.server.url, self.admin
        project = client.create_project("volumes", [Label("organ")], ["CT"]).id
        memory, up, down = volumes.Memory(self.pid), [], []
        least, there, back = [], [], []
        file, target = self.folder / "volume.nrrd", self.folder / "copy"
        for seed in range(self.scale.repeats):
            volumes.write_volume(file, self.scale.volume, seed)
            with memory.watched():
                case, uploaded, made = apart(volumes.send_up, url, token, project, file)[0][0]
                down += apart(volumes.bring_back, url, token, case, self.folder / "down")[0]
            up.append((uploaded, made))
            least += apart(volumes.hash_and_write, file, target)[0]
            there += apart(volumes.over_a_socket, file, target)[0]
            back += apart(volumes.over_a_socket, file, None)[0]
        uploaded, made = (statistics.median(each) for each in zip(*up, strict=True))
        saved, held = (statistics.median(each) for each in zip(*down, strict=True))
        least, there, back = (statistics.median(each) for each in (least, there, back))
        volume = f"int16 volume of {shown(self.scale.volume)} ({file.stat().st_size / 1e6:.0f} MB)"
        yield line(
            f"{volume} uploaded and made a case",
            "3 s",
            f"{uploaded + made:.2f} s ({uploaded:.2f} s, then {made:.2f} s)",
            f"SHA-256, file and fsync {least:.2f} s; bare socket to a file {there:.2f} s",
            f"{(uploaded + made) / least:.1f}x",
        )
        yield line(
            f"{volume} downloaded to a file; to memory",
            "2 s",
            f"{saved:.2f} s; {held:.2f} s",
            f"bare socket to a file {there:.2f} s; to memory {back:.2f} s",
            f"{saved / there:.1f}x; {held / back:.1f}x",
        )
        yield line(
            "peak memory meanwhile",
            "400 MB",
            f"{(memory.web + memory.task) / 1e6:.0f} MB: web process {memory.web / 1e6:.0f}, "
            f"reading task {memory.task / 1e6:.0f}",
            "",
            "",
        )

    def stress(self) -> Iterator[str]:
        """Everybody answers through outboxes while the server dies and connections break."""
        scale, chance = self.scale, random.Random(3)
        project = self.many_patches("stress", scale.patches)
        begins = time.monotonic()
        with FaultyProxy(self.port, lambda: some_fault(chance)) as proxy:
            work = Work(proxy.url, project, self.folder, self.labels, 0.2)
            with Annotators(self.people, work, 4) as annotators:
                for number in range(scale.kills):
                    share = (number + chance.random()) / scale.kills
                    wait_until(lambda share=share: self.answered(project) >= share * scale.patches, 600)
                    self.server.kill()
                    self.server.start()
                diaries = annotators.diaries()
            seconds = time.monotonic() - begins
            with Store(self.server.data) as store:
                found, wrong = tally(store, project, diaries), store.check()
        yield line(
            f"{PEOPLE} annotators, {scale.patches} patches, {scale.kills} kills, "
            f"{proxy.connections} connections, {sum(one.troubles for one in diaries)} failed requests",
            "no patch twice, no answer lost",
            f"{found.once} answered exactly once, {found.twice} twice, {found.never} never, "
            f"{found.shared} with two people, {found.lost} answers lost, {found.parked} refused, "
            f"{len(wrong)} faults in the store; {seconds:.0f} s",
            "",
            "",
        )

    def answered(self, project: str) -> int:
        with Store(self.server.data) as store:
            counts = store.patches.counts(project).get(0, {})
        return sum(count for state, count in counts.items() if state != "open")


def some_fault(chance: random.Random) -> Fault:
    """What happens to a connection: half are good, others break off after a while."""
    after = chance.randrange(1, 40_000)
    faults = (Fault(reset_after=after), Fault(cut_after=after), Fault(cut_request_after=after))
    return chance.choice((GOOD, GOOD, GOOD, *faults))


def put_maps(root: Path, case: str, shape: tuple[int, int, int]) -> None:
    """The maps of a case where a cycle leaves them; only the entropy's voxels are real."""
    folder = map_folder(root, 0, case)
    block = np.abs(np.random.default_rng(0).normal(size=(16, 32, 32)))
    block = np.kron(block, np.ones((4, 4, 4))) * np.random.default_rng(1).uniform(0.9, 1, (64, 128, 128))
    counts = [-(-n // m) for n, m in zip(shape, block.shape, strict=True)]
    entropy = np.tile(np.maximum(block - 1, 0).astype(np.float16), counts)
    save_voxels(map_path(folder, "predictive_entropy"), entropy[tuple(slice(n) for n in shape)])
    for name in set(MAPS) - {"predictive_entropy"}:
        map_path(folder, name).hardlink_to(map_path(folder, "predictive_entropy"))
    write_quality(folder, 0.9)
    (cycle_path(root, 0) / QUERIES).write_text("{}")
    assert open_voxels(map_path(folder, "prediction")).shape == shape


def shown(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small images and few patches")
    scale = QUICK if parser.parse_args().quick else Scale()
    print(f"{machine_line()}load of other programs before it began: {os.getloadavg()[0]:.1f}\n")
    print(head("what", "reach", "ours", "baseline", "ratio"), flush=True)
    with tempfile.TemporaryDirectory() as name:
        for row in Bench(Path(name), scale).rows():
            print(row, flush=True)


if __name__ == "__main__":
    main()
