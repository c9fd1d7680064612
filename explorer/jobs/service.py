"""The job service: a queue for each model, one job of a model at a time, progress, cancel, resume; results in the store."""

import atexit
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from explorer.core.errors import ExplorerError
from explorer.engine.model import Model
from explorer.jobs.executors import EXECUTORS, ExecutorName
from explorer.jobs.kinds import Spec, kind_of, one_after_the_other, read_spec, write_spec
from explorer.jobs.patching import Arrays
from explorer.jobs.store import Store
from explorer.jobs.turns import Rank, give_way

GetModel = Callable[[str], Model]
"""A loaded model by what the user calls it; may take long."""


@dataclass
class Running:
    """A job of this process that is queued or under way."""

    id: str
    model: str
    pairs: int
    """Units of work: pairs, or what a discovery visits."""
    done: int = 0
    stage: str = "Waiting for its turn"
    stop: threading.Event = field(default_factory=threading.Event)
    finished: threading.Event = field(default_factory=threading.Event)
    started: float | None = None
    first: int = 0
    """Pairs that were there when it began."""

    @property
    def fraction(self) -> float:
        return self.done / max(1, self.pairs)

    @property
    def left(self) -> str:
        """Time left, in words."""
        if self.started is None or self.done <= self.first:
            return "…"
        seconds = (time.monotonic() - self.started) / (self.done - self.first) * (self.pairs - self.done)
        return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"


class JobService:
    """Runs jobs in threads of its own; every method may be called from any thread."""

    def __init__(self, get_model: GetModel, store: Store | None = None, executor: ExecutorName = "local") -> None:
        self.get_model, self.store, self.executor = get_model, store or Store(), executor
        self.lock = threading.Lock()
        self.running: dict[str, Running] = {}
        self.waiting: dict[str, deque[Running]] = defaultdict(deque)
        self.closing = threading.Event()
        atexit.register(self.close)

    def submit(self, spec: Spec, title: str, units: int | None = None) -> str:
        """Queue a job; its id.  `units`: how much there is to do; None for a unit a pair."""
        units = len(spec.pairs) if units is None else units
        name = self.store.add(title, spec.model, write_spec(spec), units)
        self.enqueue(Running(name, spec.model, units))
        return name

    def resume(self, job: str) -> None:
        """Run what an interrupted, cancelled or failed job has left."""
        found = self.store.job(job)
        if found is not None and job not in self.running:
            self.store.set_state(job, "queued")
            self.enqueue(Running(job, found.model, found.pairs, found.done))

    def cancel(self, job: str) -> None:
        """Stop a job before its next chunk; what is finished stays."""
        if job in self.running:
            self.running[job].stop.set()

    def status(self, job: str) -> Running | None:
        """A job of this process that is not finished; None for all others."""
        return self.running.get(job)

    def wait(self, job: str, timeout: float | int | None = None) -> bool:
        """Whether a job of this process has ended, after at most `timeout` seconds."""
        running = self.running.get(job)
        return running is None or running.finished.wait(timeout)

    def result(self, job: str, model: Model) -> Any:
        """What is finished so far, as the job's kind gathers it (`DatasetPatching`, `EdgeScores`); None where that is nothing."""
        spec = read_spec(self.store.spec(job))
        kind = kind_of(spec)
        return kind.gather(model, spec, self.store.shards(job), kind.shards(model, spec))

    def close(self) -> None:
        """Leave off where this process ends: what is under way is interrupted, and can be resumed."""
        self.closing.set()
        for job in list(self.running.values()):
            job.finished.wait(5)

    def enqueue(self, job: Running) -> None:
        with self.lock:
            self.running[job.id] = job
            queue = self.waiting[job.model]
            queue.append(job)
            if len(queue) == 1:
                threading.Thread(target=self.work_off, args=(queue,), daemon=True).start()

    def work_off(self, queue: deque[Running]) -> None:
        """The thread of one model: its jobs, one after the other."""
        while True:
            job = queue[0]
            try:
                self.run(job)
            finally:
                with self.lock:
                    queue.popleft()
                    del self.running[job.id]
                    job.finished.set()
                    empty = not queue
            if empty:
                return

    def run(self, job: Running) -> None:
        """One job, to its end; whatever goes wrong is a sentence in the store."""
        try:
            if not job.stop.is_set():
                self.run_shards(job)
            if self.closing.is_set():
                return
            self.store.set_state(job.id, "cancelled" if job.stop.is_set() and job.done < job.pairs else "done")
        except ExplorerError as error:
            self.store.set_state(job.id, "failed", str(error))
        except Exception as error:  # a library's own failure must reach the page as a sentence
            self.store.set_state(job.id, "failed", f"The work failed ({type(error).__name__}: {error}).")

    def run_shards(self, job: Running) -> None:
        self.store.set_state(job.id, "running")
        job.stage = "Loading the model"
        model, spec = self.get_model(job.model), read_spec(self.store.spec(job.id))
        shards, there = dict(enumerate(kind_of(spec).shards(model, spec))), self.store.finished(job.id)
        job.done = job.first = sum(len(shards[number]) for number in there)
        job.started, job.stage = time.monotonic(), kind_of(spec).stage
        chained = one_after_the_other(spec)
        before = self.store.shards(job.id)[max(there)] if chained and there else None

        def save(number: int, result: Arrays) -> None:
            self.store.save(job.id, number, len(shards[number]), result, replacing=chained)
            job.done += len(shards[number])

        def cancelled() -> bool:
            give_way(Rank.DATASET)
            return job.stop.is_set() or self.closing.is_set()

        missing = {number: pairs for number, pairs in shards.items() if number not in there}
        EXECUTORS[self.executor](model, spec, missing, save, cancelled, before)
