"""The Dataset view: pairs of a task or a file, what a run will cost, runs under way, finished and interrupted."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from explorer.analyses.activation_patching import plan_of
from explorer.core.errors import ExplorerError, PairError
from explorer.core.pairs import ContrastPair
from explorer.engine.contrasts import contrasts
from explorer.engine.interventions import Stack
from explorer.engine.sweep_plan import SweepSite
from explorer.jobs.patching import BOTH, PatchingSpec
from explorer.jobs.store import Stored
from explorer.prompts.pair_files import COLUMNS, PairFile, read_pairs
from explorer.ui import session, tasks
from explorer.ui.dataset_results import results
from explorer.ui.desk import Desk, message
from explorer.ui.html import grid, in_time, say
from explorer.ui.patching import SITES
from explorer.ui.service import SERVICE
from explorer.ui.state import Workbench, stack_of
from explorer.ui.task_draws import PAIR_COUNT, PAIR_FILE
from explorer.ui.terms import help_for

SOURCE, REFUSED = "_pair_source", "_run_refused"
RUN_AT_MOST = 2000
"""Pairs of one run."""
SAMPLED = 3
"""Pairs that the cost is told from."""
CONTROL_SHARE = {"positions": 1.5, "prompts": 2.0, "none": 1.0}
"""Work with a control, over the work without: a patch at one position is on average half of one at all."""
CONTROLS = {"positions": "random positions", "prompts": "unrelated prompts", "none": "no control"}
RESUMABLE = ("interrupted", "cancelled", "failed")
STATES = {"done": "✓ done", "running": "running", "queued": "waiting", "cancelled": "cancelled", "failed": "failed", "interrupted": "interrupted"}  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """Pairs to run, and what they are."""

    pairs: tuple[ContrastPair, ...]
    title: str


def dataset_view(desk: Desk) -> None:
    with st.container(border=True, key="new_run"):
        new_run(desk)
    left, right = st.columns([2, 5], gap="medium")
    with left:
        runs(desk)
    with right:
        try:
            results(desk)
        except ExplorerError as error:
            message("result_error", "This run cannot be shown.", error)


def new_run(desk: Desk) -> None:
    """Which pairs, what is patched, what it costs, and the button."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**New run**", help=help_for("bootstrap interval", "control (of a patch)", "held-out pairs"))
        source = st.segmented_control(
            "Pairs from",
            ("a task", "a file"),
            default="a task",
            required=True,
            key=SOURCE,
            label_visibility="collapsed",
        )
    chosen = from_task(desk) if source == "a task" else from_file(desk)
    control = what_is_run(desk.bench)
    if chosen is None or not chosen.pairs:
        return
    try:
        cost = cost_of(desk, chosen.pairs, control)
    except ExplorerError as error:
        message("run_cost_error", "These pairs cannot be run so.", error)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Start the run", type="primary", icon=":material/play_arrow:", key="start_run",
            **session.calling(start, desk, chosen, control),
        )  # fmt: skip
        say(f"{len(chosen.pairs):,} pairs, both directions, under {stack_words(desk.bench)}: {cost}")


def what_is_run(bench: Workbench) -> str:
    """The site, by position or not; and the control, which is returned."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sites = [site for site in SITES if site != "neurons"]
        st.selectbox(
            "What is patched", sites, format_func=SITES.__getitem__, width=260,
            **session.bound("patch_site", site_of(bench)),
        )  # fmt: skip
        offered = [name for name in CONTROLS if not (bench.by_position and name == "positions")]
        control: str = st.selectbox(
            "Control", offered, format_func=CONTROLS.__getitem__, width=220, key=f"run_control_{bench.by_position}",
            help=help_for("control (of a patch)"),
        )  # fmt: skip
        st.toggle("By position", help="For pairs of one length.", **session.bound("by_position", bench.by_position))
    return control


def site_of(bench: Workbench) -> SweepSite:
    """What a run patches: neurons, of which there are very many, belong to the Sweep view."""
    return "head_out" if bench.patch_site == "neurons" else bench.patch_site


def stack_words(bench: Workbench) -> str:
    at_work = sum(entry.enabled for entry in bench.entries)
    return "no intervention" if not at_work else f"{at_work} intervention{'s' if at_work > 1 else ''}"


def from_task(desk: Desk) -> Chosen | None:
    tasks.controls(desk.bench)
    st.toggle("Only pairs the model gets right", **session.bound("only_right", desk.bench.only_right))
    drawn = tasks.measured(desk.bench, desk.model)
    if drawn is None:
        return None
    baseline = drawn[0]
    pairs = baseline.right if desk.bench.only_right else baseline.pairs
    say(f"The model gets {len(baseline.right)} of {len(baseline.pairs)} right.")
    held = ", held-out templates" if desk.bench.held_out else ""
    return Chosen(pairs, f"{desk.bench.task}{held}, seed {desk.bench.task_seed}")


def from_file(desk: Desk) -> Chosen | None:
    loaded = st.file_uploader("CSV or JSONL", ["csv", "jsonl", "ndjson"], key="pair_upload", help=f"Columns {', '.join(COLUMNS)}; answers are one token each.")  # fmt: skip
    if loaded is not None:
        content = loaded.getvalue()
        key = (desk.model.identity, loaded.name, hash(content), desk.bench.bos)
        if st.session_state.get(PAIR_FILE, (None,))[0] != key:
            try:
                read = read_pairs(content, loaded.name, desk.model.tokenizer, desk.model.info.n_ctx, desk.bench.bos)
                st.session_state[PAIR_FILE] = key, loaded.name, read
            except ExplorerError as error:
                st.session_state.pop(PAIR_FILE, None)
                message("file_error", "This file is not read.", error)
                return None
    if PAIR_FILE not in st.session_state:
        st.caption(f"One pair a row, in the columns {', '.join(COLUMNS)}.")
        return None
    _, name, file = st.session_state[PAIR_FILE]
    return chosen_of(name, file)


def chosen_of(name: str, file: PairFile) -> Chosen:
    """The rows that run, those that cannot named with their reasons, and how many of them are wanted."""
    say(file.summary, f"{name}:")
    if file.refused:
        rows = [[str(row), reason.splitlines()[0]] for row, reason in file.refused[:50]]
        with st.expander(f"{len(file.refused):,} rows cannot be run"):
            st.html(grid(["row", "why"], rows))
    if file.duplicates:
        say("Repeated rows: " + ", ".join(map(str, file.duplicates[:30])) + ("…" if len(file.duplicates) > 30 else ""))
    most = min(len(file.pairs), RUN_AT_MOST)
    if most > 1:
        wanted = st.number_input("Pairs to run", 1, most, min(most, 200), key=f"file_count_{name}_{most}", help="The first so many.")  # fmt: skip
        st.session_state[PAIR_COUNT] = wanted
        return Chosen(file.pairs[:wanted], name)
    return Chosen(file.pairs, name)


def stacks_of(bench: Workbench, pairs: Sequence[ContrastPair]) -> tuple[tuple[Stack, Stack], ...]:
    if not any(entry.enabled for entry in bench.entries):
        return ()
    return tuple((tuple(stack_of(bench.entries, pair, "clean")), tuple(stack_of(bench.entries, pair, "corrupt"))) for pair in pairs)  # fmt: skip


def cost_of(desk: Desk, pairs: Sequence[ContrastPair], control: str) -> str:
    """Time and memory, from a plan of a few pairs.  Raises where even these cannot be run."""
    bench = desk.bench
    lengths = {len(desk.model.tokenize(pair.clean, bench.bos)) for pair in pairs} if bench.by_position else {0}
    if len(lengths) > 1:
        raise PairError(
            f"By position, all prompts must be equally long; these have {', '.join(map(str, sorted(lengths)))} tokens. Switch "
            "“By position” off."
        )

    def make() -> tuple[float, int, int]:
        step = max(1, len(pairs) // SAMPLED)
        costs = []
        for pair in pairs[::step][:SAMPLED]:
            found = contrasts(desk.model, pair, lambda one, side: stack_of(bench.entries, one, side), bench.bos)
            costs.append(plan_of(desk.model, found, site_of(bench), "noising", by_position=bench.by_position).cost)
        seconds = sum(cost.seconds for cost in costs) / len(costs)
        return seconds, max(cost.bytes for cost in costs), costs[0].runs

    key = ("run_cost", tuple(pairs[:: max(1, len(pairs) // SAMPLED)][:SAMPLED]), site_of(bench), bench.by_position, bench.entries)  # fmt: skip
    seconds, size, cells = desk.model.remember(key, make, lambda made: 100)
    total = 2 * seconds * len(pairs) * CONTROL_SHARE[control]
    return f"{2 * cells * len(pairs):,} patched runs and their control, about {in_time(total)}, {size / 1e6:,.0f} MB."


def start(desk: Desk, chosen: Chosen, control: str) -> None:
    """Queue the run; what goes wrong is told where runs are listed."""
    bench, info, site = desk.bench, desk.model.info, site_of(desk.bench)
    st.session_state.pop(REFUSED, None)
    try:
        spec = PatchingSpec(
            bench.model, info.dtype, info.weight_hash, tuple(chosen.pairs), site, bench.by_position, BOTH,
            None if control == "none" else control, stacks_of(bench, chosen.pairs), bench.task_seed, bench.bos,  # type: ignore[arg-type]
        )  # fmt: skip
        session.update(job=SERVICE.submit(spec, f"{chosen.title}: {SITES[site]}"))
    except ExplorerError as error:
        st.session_state[REFUSED] = str(error)


def runs(desk: Desk) -> None:
    """Runs of this model on this machine, newest first."""
    st.markdown("**Runs**", help="Runs go on when the page is left, and stay on this machine. One runs at a time for each model; clicks go first.")  # fmt: skip
    if REFUSED in st.session_state:
        st.error("The run was not started.", icon=":material/error:")
        st.text(st.session_state[REFUSED])
    try:
        found = [job for job in SERVICE.store.jobs() if (job.model, job.kind) == (desk.bench.model, "PatchingSpec")]
    except ExplorerError as error:
        message("runs_error", "The runs cannot be read.", error)
        return
    if not found:
        st.caption("None yet.")
    active = any(SERVICE.status(job.id) is not None for job in found)

    @st.fragment(run_every=0.7 if active else None)
    def draw() -> None:
        now = {job.id: job for job in SERVICE.store.jobs()}
        if active and not any(SERVICE.status(job.id) is not None for job in found):
            st.rerun()
        for job in found[:12]:
            if job.id in now:
                one_run(desk, now[job.id])

    draw()


def one_run(desk: Desk, job: Stored) -> None:
    running = SERVICE.status(job.id)
    with st.container(border=True, key=f"stored_run_{job.id}"):
        say(f"{job.done:,} of {job.pairs:,} pairs, {STATES[job.state]}, {job.made} UTC", job.title)
        if job.error:
            st.text(job.error)
        if running is not None:
            st.progress(
                min(1.0, running.fraction),
                f"{running.stage}: {running.done:,} of {running.pairs:,} pairs, {running.left}",
            )
        with st.container(horizontal=True):
            opened = desk.bench.job == job.id
            if st.button("Shown" if opened else "Show", key=f"show_{job.id}", disabled=opened or not job.done):
                session.update(job=job.id)
                st.rerun()
            if running is not None:
                st.button("Cancel", key=f"cancel_{job.id}", on_click=SERVICE.cancel, args=(job.id,))
            elif job.state in RESUMABLE and st.button("Resume", key=f"resume_{job.id}", icon=":material/play_arrow:"):
                SERVICE.resume(job.id)
                st.rerun()
            if running is None and st.button("Delete", key=f"delete_{job.id}"):
                SERVICE.store.delete(job.id)
                st.rerun()
