"""Live sweeps: exact patching of what a page shows, largest estimates first, readable while it runs.

Sweeps are shared by all browsers of the process and kept for a while, so one that was left is there when one comes back.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from explorer.analyses.activation_patching import ActivationPatching, largest_first, patch_into, plan_of, summarise
from explorer.core.errors import ExplorerError
from explorer.engine.contrasts import Contrast, Direction
from explorer.engine.model import Model
from explorer.engine.sweep_plan import SweepPlan
from explorer.jobs.turns import SMALL_CHUNK, Rank, give_way, taking_turn

KEPT = 24
"""Sweeps that are kept, under way or done."""
MODELS = 2
"""Models whose sweeps are kept: a sweep holds its model in memory."""


@dataclass(eq=False)
class LiveSweep:
    """One sweep over one direction, planned, under way or done."""

    model: Model
    contrasts: Sequence[Contrast]
    site: str
    direction: Direction
    plan: SweepPlan
    patched: np.ndarray
    """Objectives [pair, cell] as they come; NaN where not run yet."""
    order: list[list[int]]
    seconds: float
    """What it will take, by one timed run."""
    fraction: float = 0.0
    error: str = ""
    notes: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    started: float | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            with taking_turn(Rank.LIVE):
                for done, note in patch_into(self.plan, self.patched, self.cancelled, self.order):
                    self.fraction = done
                    self.notes += [note] * (note not in ("", *self.notes))
        except ExplorerError as error:
            self.error = str(error)
        except Exception as error:  # a library's own failure must reach the page as a sentence
            self.error = f"The sweep failed ({type(error).__name__}: {error})."
        finally:
            self.done.set()

    def cancelled(self) -> bool:
        give_way(Rank.LIVE)
        return self.stop.is_set()

    @property
    def under_way(self) -> bool:
        return self.started is not None and not self.done.is_set()

    @property
    def left(self) -> float:
        """Seconds left, by its own pace."""
        if self.started is None or self.fraction < 0.02:
            return self.seconds
        return (time.monotonic() - self.started) * (1 - self.fraction) / self.fraction

    def result(self) -> ActivationPatching:
        """What is measured so far; NaN elsewhere."""
        return summarise(
            self.model, self.contrasts, self.plan, self.patched.copy(), self.direction, self.site, self.notes
        )


class LiveSweeps:
    """The sweeps of this process; one at a time runs, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.lock, self.turn = threading.Lock(), threading.Lock()
        self.sweeps: OrderedDict[Hashable, LiveSweep] = OrderedDict()

    def planned(
        self,
        key: Hashable,
        model: Model,
        contrasts: Sequence[Contrast],
        site: str,
        direction: Direction,
        by_position: bool,
        layers: Sequence[int] | None,
        estimate: np.ndarray | None,
    ) -> LiveSweep:
        """The sweep of a key, planned if it is new.  Raises as `plan_patching`."""
        with self.lock:
            if key in self.sweeps:
                self.sweeps.move_to_end(key)
                return self.sweeps[key]
        plan = plan_of(
            model, contrasts, site, direction, by_position=by_position, layers=layers, chunk_positions=SMALL_CHUNK
        )  # fmt: skip
        patched = np.full((len(contrasts), len(plan.cells)), np.nan)
        order = largest_first(np.zeros(len(plan.cells)) if estimate is None else estimate)
        made = LiveSweep(model, contrasts, site, direction, plan, patched, order, plan.cost.seconds)
        with self.lock:
            kept = self.sweeps.setdefault(key, made)
            recent = list(dict.fromkeys(id(sweep.model) for sweep in reversed(self.sweeps.values())))[:MODELS]
            old = [name for name, sweep in self.sweeps.items() if id(sweep.model) not in recent]
            for name in old + list(self.sweeps)[: max(0, len(self.sweeps) - KEPT)]:
                if name in self.sweeps:
                    self.sweeps.pop(name).stop.set()
            return kept

    def start(self, sweep: LiveSweep) -> None:
        """Run it, if it does not run yet; one that was cancelled goes on from the start."""
        with self.lock:
            if sweep.under_way or (sweep.done.is_set() and not sweep.stop.is_set()):
                return
            sweep.stop.clear()
            sweep.done.clear()
            sweep.started, sweep.error = time.monotonic(), ""
            threading.Thread(target=self.wait_and_run, args=(sweep,), daemon=True).start()

    def wait_and_run(self, sweep: LiveSweep) -> None:
        with self.turn:
            sweep.started = time.monotonic()
            sweep.run()

    def stop_others(self, mine: Iterable[LiveSweep], current: Iterable[LiveSweep]) -> None:
        """Stop sweeps that a browser asked for and shows no longer."""
        wanted = set(map(id, current))
        for sweep in mine:
            if id(sweep) not in wanted and sweep.under_way:
                sweep.stop.set()


SWEEPS = LiveSweeps()
