"""The pairs of the workbench's task and the model's answers, drawn once and remembered."""

from explorer.analyses.task_pairs import TaskPairs, task_pairs
from explorer.engine.model import Model
from explorer.models.info import Progress
from explorer.ui.state import Entry, Workbench, stack_of

PAIR_FILE, PAIR_COUNT = "_pair_file", "_pair_count"
"""Where a session holds the file of pairs that was loaded, (key, name, file), and how many of them are wanted."""


def pairs_of(
    bench: Workbench, model: Model, entries: tuple[Entry, ...] = (), progress: Progress | None = None
) -> TaskPairs:
    """The pairs of the workbench's task and the model's answers under some entries, remembered.  Raises as `task_pairs`."""

    def make() -> TaskPairs:
        return task_pairs(
            model, bench.task, bench.n_pairs, seed=bench.task_seed, held_out=bench.held_out, bos=bench.bos,
            interventions=(lambda pair, side: stack_of(entries, pair, side)) if entries else (), progress=progress,
        )  # fmt: skip

    key = ("task_pairs", bench.task, bench.n_pairs, bench.task_seed, bench.held_out, bench.bos, entries)
    found: TaskPairs = model.remember(key, make, lambda made: int(made.frame.memory_usage(deep=True).sum()))
    return found
