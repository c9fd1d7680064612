"""The sweeps of the patching page: estimates at once, exact values as they come, under the stack and without it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import streamlit as st

from explorer.analyses.activation_patching import ActivationPatching
from explorer.analyses.attribution_patching import AttributionPatching, attribution_patching
from explorer.core.errors import BridgeError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.engine.contrasts import Contrast, Direction, contrasts
from explorer.engine.interventions import Intervention, Noise
from explorer.engine.sweep_plan import SweepSite
from explorer.jobs.live import SWEEPS, LiveSweep
from explorer.ui import session
from explorer.ui.desk import Desk
from explorer.ui.state import Entry, Side, Workbench, stack_of

Run = Literal["changed", "baseline"]
MINE = "_live_sweeps"
ALONE_UP_TO = 30.0
"""Seconds up to which a sweep starts by itself."""


def noise_of(bench: Workbench) -> Noise | None:
    """The noise that takes the corrupt prompt's place, where it was chosen."""
    return None if bench.corruption != "noise" else Noise(bench.noise_at or None, bench.noise_scale)


def on_the_pair(desk: Desk, method: Callable[..., Any], places: tuple[Place, ...], nbytes: int, **choices: Any) -> Any:
    """What a patching method says of some places of the workbench's pair under its stack; kept in the model's cache."""
    bench = desk.bench
    key = (method.__name__, bench.pair, bench.bos, bench.entries, places, noise_of(bench), *sorted(choices.items()))
    return desk.model.remember(
        key,
        lambda: method(
            desk.model, bench.pair, places, bos=bench.bos, noise=noise_of(bench),
            interventions=lambda pair, side: stack_of(bench.entries, pair, side), **choices,
        ),
        lambda made: nbytes,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sweep:
    """One direction, under the stack or without it: the estimate, and what is measured so far."""

    direction: Direction
    run: Run
    estimate: AttributionPatching | None
    live: LiveSweep
    exact: ActivationPatching

    @property
    def measured(self) -> np.ndarray:
        return np.asarray(np.isfinite(self.exact.raw))

    @property
    def change(self) -> np.ndarray:
        """Logits: measured where that is there, else estimated."""
        guess = np.full_like(self.exact.raw, np.nan) if self.estimate is None else self.estimate.raw
        return np.asarray(np.where(self.measured, self.exact.raw, guess))

    @property
    def values(self) -> np.ndarray:
        """The same, normalised."""
        return self.exact.normalised(self.change)

    @property
    def strength(self) -> np.ndarray:
        return self.values if self.direction == "denoising" else 1 - self.values


def directions_of(bench: Workbench) -> tuple[Direction, ...]:
    if bench.direction in ("both", "gates"):
        return ("denoising", "noising")
    return ("denoising",) if bench.direction == "denoising" else ("noising",)


def runs_of(desk: Desk) -> tuple[Run, ...]:
    """What the page shows: the run under the stack, the one without, or both for their difference."""
    changed = any(entry.enabled for entry in desk.bench.entries)
    if not changed:
        return ("baseline",)
    return {"changed": ("changed",), "baseline": ("baseline",)}.get(desk.bench.show, ("changed", "baseline"))  # type: ignore[return-value]


def sweeps(desk: Desk, site: SweepSite, directions: Sequence[Direction], by_position: bool, layers: Sequence[int] | None = None) -> list[Sweep]:  # fmt: skip
    """The sweeps that a view shows, by direction and run, planned; `keep_going` starts them.

    Raises as `activation_patching`.
    """
    bench = desk.bench
    found = []
    for run in runs_of(desk):
        entries = bench.entries if run == "changed" else ()

        def stack(pair: ContrastPair, side: Side, entries: Sequence[Entry] = entries) -> list[Intervention]:
            return stack_of(entries, pair, side)

        pairs = contrasts(desk.model, bench.pair, stack, bench.bos, noise_of(bench), bench.draws)
        found += [one(desk, pairs, stack, site, way, run, by_position, layers) for way in directions]
    return found


def one(
    desk: Desk,
    pairs: Sequence[Contrast],
    stack: Any,
    site: SweepSite,
    direction: Direction,
    run: Run,
    by_position: bool,
    layers: Sequence[int] | None,
) -> Sweep:
    bench, model = desk.bench, desk.model
    sides = tuple((each.clean.stack, each.corrupt.stack) for each in pairs)
    places = None if layers is None else tuple(layers)
    key = ("sweep", bench.pair, bench.bos, sides, site, direction, by_position, places)

    def guess() -> AttributionPatching | None:
        try:
            return attribution_patching(
                model, bench.pair, site, by_position=by_position, direction=direction, layers=layers, interventions=stack,
                noise=noise_of(bench), draws=bench.draws, bos=bench.bos,
            )  # fmt: skip
        except BridgeError:
            return None

    estimate: AttributionPatching | None = model.remember(key, guess, lambda made: 0 if made is None else made.by_pair.nbytes)  # fmt: skip
    raw = None if estimate is None else estimate.raw
    live = SWEEPS.planned((model.identity, *key), model, pairs, site, direction, by_position, layers, raw)
    return Sweep(direction, run, estimate, live, live.result())


def keep_going(found: Sequence[Sweep]) -> None:
    """Start what is quick, and stop what this browser asked for and shows no longer."""
    lives = [sweep.live for sweep in found]
    mine: list[LiveSweep] = st.session_state.get(MINE, [])
    SWEEPS.stop_others(mine, lives)
    st.session_state[MINE] = lives
    for live in lives:
        if live.started is None and live.seconds <= ALONE_UP_TO:
            SWEEPS.start(live)


def while_running(desk: Desk, found: Sequence[Sweep], seconds: float, draw: Callable[[Sequence[Sweep]], None]) -> None:
    """Draw some sweeps; while they run again and again, apart from the rest of the page."""
    running = any(sweep.live.under_way for sweep in found)

    @st.fragment(run_every=seconds if running else None)
    def part() -> None:
        now = [again(sweep) for sweep in found]
        turned = running != any(sweep.live.under_way for sweep in now)
        if turned or session.bench() != desk.bench:  # a click inside must reach the whole page
            st.rerun()
        draw(now)

    part()


def again(sweep: Sweep) -> Sweep:
    """A sweep as it stands now."""
    return Sweep(sweep.direction, sweep.run, sweep.estimate, sweep.live, sweep.live.result())


def progress(found: Sequence[Sweep], key: str) -> None:
    """Time left and cancel while sweeps run; a button for those that are long or were cancelled."""
    lives = [sweep.live for sweep in found]
    running = [live for live in lives if live.under_way]
    if running:
        done = float(np.mean([live.fraction for live in lives]))
        left = sum(live.left for live in lives if not live.done.is_set())
        cells = sum(int(sweep.measured.sum()) for sweep in found)
        total = sum(sweep.measured.size for sweep in found)
        with st.container(horizontal=True, vertical_alignment="center", key=f"{key}_progress"):
            st.progress(min(1.0, done), f"{cells:,} of {total:,} cells measured, about {left:.0f} s left")
            st.button("Cancel", key=f"{key}_cancel", on_click=cancel, args=(lives,))
        return
    waiting = [live for live in lives if live.started is None or (live.stop.is_set() and live.fraction < 1)]
    if waiting:
        seconds = sum(live.seconds for live in waiting)
        cells = sum(len(live.plan.cells) for live in waiting)
        label = f"Measure {cells:,} cells exactly (about {seconds:.0f} s)"
        st.button(label, key=f"{key}_start", icon=":material/play_arrow:", on_click=start_all, args=(waiting,))


def cancel(lives: Sequence[LiveSweep]) -> None:
    for live in lives:
        live.stop.set()


def start_all(lives: Sequence[LiveSweep]) -> None:
    for live in lives:
        SWEEPS.start(live)
