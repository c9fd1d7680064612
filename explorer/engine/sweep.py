"""Sweeps: run the cells of a plan, many a forward pass, and yield results as they come.

    plan = plan_sweep(model, "head_out", base, source)
    plan.cost                                 # forward passes, seconds and bytes, before anything runs
    for part in run_sweep(plan, cancelled):   # partial results, in chunks that fit the memory budget
        part.cells, part.prompts, part.logits, part.done

The engine runs many cells a forward pass (`engine.variants`); on the bridge, and where single edges are patched, each
cell is a run of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import MemoryBudgetError, NotFiniteError, SiteError
from explorer.engine.edits import Edit, Tape, part
from explorer.engine.sweep_plan import Group, SweepPlan, Values
from explorer.engine.variants import Cached, Cell, cache_run, kinds_needed, read_logits, run_variants
from explorer.prompts.tokens import Tokens


@dataclass(frozen=True, eq=False)
class Part:
    """A piece of a sweep's result."""

    cells: list[int]
    """Numbers of the cells in `plan.cells`."""
    prompts: list[int]
    """Numbers of the base prompts."""
    logits: Float[Tensor, "cell prompt token"]
    """After the last position: the tokens that were asked for, or the whole vocabulary."""
    done: float
    """Fraction of the work done so far."""
    note: str = ""
    """What a user should know of the way here: memory ran out, and chunks were halved."""


def never() -> bool:
    return False


def run_sweep(
    plan: SweepPlan, cancelled: Callable[[], bool] = never, order: Sequence[Sequence[int]] | None = None
) -> Iterator[Part]:
    """Run a plan, a chunk at a time; stops before the next chunk once `cancelled()` is true.

    `order`: numbers of the cells in batches, the first batch first; None for the quickest order.

    Raises `NotFiniteError` with the place's name, and `MemoryBudgetError` where not even one cell fits.
    """
    total, done = sum(plan.work(group) for group in plan.groups), 0.0
    for group in plan.groups:
        if cancelled():
            return
        inert = [number for number, cell in enumerate(plan.cells) if plan.is_inert(cell, group)]
        runner = Runner(plan, group)
        done += plan.work(group) - plan.work(group, plan.cells)
        yield Part(inert, group.prompts, runner.unchanged(len(inert)), done / total)
        for batch in [range(len(plan.cells))] if order is None else order:
            for start, numbers in plan.by_start(group, batch).items():
                for found, logits, note in chunks(runner, numbers, start, plan.cells_at_once(group, start), cancelled):
                    done += plan.work(group, [plan.cells[number] for number in found])
                    yield Part(found, group.prompts, logits, done / total, note)


def chunks(
    runner: "Runner", numbers: list[int], start: int, size: int, cancelled: Callable[[], bool]
) -> Iterator[tuple[list[int], Tensor, str]]:
    """Logits of the cells, `size` at a time; half as many from where the memory runs out."""
    note = ""
    while numbers and not cancelled():
        cells = [runner.plan.cells[number] for number in numbers[:size]]
        try:
            logits = runner.run(cells, start)
        except (MemoryError, RuntimeError) as error:
            size, note = halved(error, len(cells))
            continue
        runner.check_finite(cells, logits)
        yield numbers[:size], logits, note
        numbers = numbers[size:]


def halved(error: Exception, size: int) -> tuple[int, str]:
    """Half the chunk after the memory ran out, and what to tell; any other error goes on its way."""
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate" in str(error)
    if not out_of_memory:
        raise error
    if size == 1:
        raise MemoryBudgetError(
            "The memory does not even hold one patched run. Use a shorter prompt or a smaller model."
        ) from error
    return size // 2, f"Memory ran out; the sweep goes on with {size // 2} runs at once."


class Runner:
    """Base and source run of one group, and the runs of its cells."""

    def __init__(self, plan: SweepPlan, group: Group) -> None:
        self.plan, self.group, self.model = plan, group, plan.model
        needed = plan.cached_bytes(group) + plan.row_bytes(group.length, group.length)
        if needed > plan.budget:
            raise MemoryBudgetError(
                f"A sweep over {len(group.prompts)} prompts of {group.length} tokens needs at least "
                f"{needed / 1e6:,.0f} MB; the budget is {plan.budget / 1e6:,.0f} MB. Use shorter prompts or fewer "
                "layers, or a larger budget."
            )
        self.ids = self.batch([plan.base[number] for number in group.prompts])
        self.read = None if plan.read is None else plan.read[group.prompts].to(self.ids.device)
        layers = {cell.layer for cell in plan.cells}
        self.source = self.values(layers)
        self.cached: Cached | None = None
        if plan.decoder is not None:
            kinds = kinds_needed(plan.kind, plan.decoder, group.edits, layers)
            self.cached = cache_run(plan.decoder, self.ids, group.edits, kinds)

    def batch(self, texts: Sequence[Tokens]) -> Tensor:
        return torch.tensor([tokens.ids for tokens in texts], device=self.model.info.device)

    def values(self, layers: set[int]) -> Values:
        """The new values [prompt, pos, …] by layer."""
        source = self.plan.source
        if isinstance(source, dict):
            return {layer: source[layer][self.group.prompts] for layer in layers}
        texts = self.plan.base if source is None else source
        tape = Tape(self.group.source_edits, (self.plan.kind,))
        self.model.runtime.run(self.batch([texts[number] for number in self.group.prompts]), tape)
        kept = tape.kept[self.plan.kind]
        if missing := layers - kept.keys():
            raise SiteError(f"L{min(missing)}.{self.plan.kind}: {self.model.info.title} has none.")
        return {layer: torch.zeros_like(kept[layer]) if source is None else kept[layer] for layer in layers}

    def unchanged(self, n_cells: int) -> Float[Tensor, "cell prompt token"]:
        """Logits of the base run, for cells that cannot change it."""
        if self.cached is not None:
            final = self.cached.final[:, -1]
        else:
            final = self.model.runtime.run(self.ids, Tape(self.group.edits, ()))[:, -1]
        return self.logits(final[None]).expand(n_cells, -1, -1)

    def run(self, cells: Sequence[Cell], start: int) -> Float[Tensor, "cell prompt token"]:
        if self.cached is not None:
            return self.logits(run_variants(self.cached, self.plan.kind, cells, self.source, start))
        return self.logits(torch.stack([self.run_alone(cell) for cell in cells]))

    def run_alone(self, cell: Cell) -> Float[Tensor, "prompt d_model"]:
        """One cell, one whole run a prompt: for the bridge, and for stacks with patched edges."""
        finals = []
        for row in range(len(self.ids)):
            new = part(self.source[cell.layer], self.plan.kind, cell.index)[row]
            places = tuple(range(len(new))) if cell.position is None else (cell.position,)
            edit = Edit(self.plan.kind, cell.layer, cell.index, places, "set", new[list(places)])
            finals.append(self.model.runtime.run(self.ids[row, None], Tape((*self.group.edits, edit), ()))[0, -1])
        return torch.stack(finals)

    @torch.no_grad()
    def logits(self, final: Float[Tensor, "cell prompt d_model"]) -> Float[Tensor, "cell prompt token"]:
        if self.plan.decoder is not None:
            return read_logits(self.plan.decoder, final, self.read)
        logits = self.model.unembed(final)
        return logits if self.read is None else logits.gather(-1, self.read.expand(len(final), -1, -1))

    def check_finite(self, cells: Sequence[Cell], logits: Tensor) -> None:
        finite = torch.isfinite(logits).flatten(1).all(1)
        if not finite.all():
            cell = cells[int((~finite).nonzero()[0])]
            raise NotFiniteError(
                f"With {self.plan.kind} of layer {cell.layer}"
                + ("" if cell.index is None else f", number {cell.index}")
                + ("" if cell.position is None else f", position {cell.position}")
                + " replaced, the model's output is not finite (NaN or infinite), so the sweep stops there."
            )
