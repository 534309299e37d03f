"""Lanes without threads: what is given to them waits until a test runs it, in the order of the test."""

# ruff: noqa: ARG002  (the signatures are those of the real ones)

from collections import deque


class _Job:
    def __init__(self, work, done, failed):
        self.cancelled, self.work, self.done, self.failed = False, work, done, failed

    def cancel(self):
        self.cancelled = True

    def progress(self, done, total):
        pass


class StepLanes:
    """Keeps to `lanes.LanesLike`."""

    def __init__(self):
        self.waiting = {}
        self.periodic = []
        self.results = deque()

    def submit(self, lane, work, *, done=None, failed=None, progress=None):
        job = _Job(work, done, failed)
        self.waiting.setdefault(lane, deque()).append(job)
        return job

    def every(self, lane, seconds, work, *, done=None, failed=None):
        job = _Job(lambda _: work(), done, failed)
        self.periodic.append((lane, job))
        return job

    @property
    def busy(self):
        """Lanes that have something to do; the long poll never ends."""
        return sorted(lane for lane, jobs in self.waiting.items() if jobs and lane != "watch")

    def step(self, lane):
        """Do one thing of a lane; its result waits for `drain`."""
        self._run(self.waiting[lane].popleft())

    def beat(self):
        """Everything periodic is due once."""
        self.periodic = [one for one in self.periodic if not one[1].cancelled]
        for _, job in self.periodic:
            self._run(job)

    def drain(self):
        count = len(self.results)
        for _ in range(count):
            job, callback, value = self.results.popleft()
            if not job.cancelled and callback is not None:
                callback(value)
        return count

    def close(self, seconds):
        self.waiting.clear()
        return True

    def _run(self, job):
        if job.cancelled:
            return
        try:
            value = job.work(job)
        except Exception as problem:  # noqa: BLE001 -- handed on, as the worker does
            self.results.append((job, job.failed, problem))
        else:
            self.results.append((job, job.done, value))
