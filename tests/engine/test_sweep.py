"""Every cell of every sweep against a run of its own."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from explorer.core.errors import MemoryBudgetError, NotFiniteError, PairError, SiteError
from explorer.core.sites import AttnOut, Edge, Embed, Head, KeyValue, MlpIn, MlpOut, Neuron, Resid
from explorer.engine import sweep as sweeps
from explorer.engine.interventions import Ablate, EdgePatch, Freeze, Patch, Scale, Steer
from explorer.engine.model import Model, load_model
from explorer.engine.sweep import Runner, run_sweep
from explorer.engine.sweep_plan import SweepSite, plan_sweep
from tests.conftest import PROMPT, TWIN
from tests.tiny import COVERED, QUICK, SHAPE

pytestmark = pytest.mark.truth

SITES = [site for site in get_args(SweepSite) if site != "neurons"]
OTHER = "When Anna and Peter went to the school, Peter gave a drink to"
STACKS = [
    (),
    (Ablate(Head(1, 2)), Scale(AttnOut(2), 0.5)),
    (Freeze(MlpOut(1)), Steer(Resid(1, "resid_pre"), (0.3,) * SHAPE["d_model"], 2.0, (3,))),
    (Patch(KeyValue(1, 0, "k"), TWIN), Scale(Resid(0, "resid_post"), 1.5, (2, -1))),
    (EdgePatch(Edge(Embed(), MlpIn(1)), TWIN), Scale(MlpOut(0), 2.0)),
]


def gathered(plan) -> torch.Tensor:
    """[cell, prompt, token]; each exactly once."""
    found = None
    for part in run_sweep(plan):
        if found is None:
            found = part.logits.new_full((len(plan.cells), len(plan.base), part.logits.shape[-1]), torch.nan)
        for row, number in enumerate(part.cells):
            assert found[number, part.prompts].isnan().all(), "a cell came twice"
            found[number, part.prompts] = part.logits[row]
    assert part.done == pytest.approx(1.0)
    return found


def one_by_one(plan) -> torch.Tensor:
    """The same by one whole run a cell."""
    found = torch.full((len(plan.cells), len(plan.base), plan.model.info.vocab_size), torch.nan).double()
    for number in range(len(plan.base)):
        group = plan.alone(number)
        runner = Runner(plan, group)
        for row, cell in enumerate(plan.cells):
            found[row, number] = plan.model.unembed(runner.run_alone(cell))[0]
    return found


def family_and_stack() -> list[object]:
    """All of them; of the fast tier each quick family once and each stack once."""
    quick = {(family, number % len(STACKS)) for number, family in enumerate((*QUICK, QUICK[0])[: len(STACKS)])}
    return [
        pytest.param(
            family, STACKS[number], id=f"{family}-{number}", marks=() if (family, number) in quick else pytest.mark.slow
        )
        for family in COVERED
        for number in range(len(STACKS))
    ]


@pytest.mark.parametrize(("family", "stack"), family_and_stack())
def test_every_cell_equals_a_run_of_its_own(tiny_models, family: str, stack) -> None:
    model = tiny_models[family]
    if stack == STACKS[4] and family == "neox":
        stack = (EdgePatch(Edge(Embed(), MlpIn(1)), TWIN),)
    base, source = [model.tokenize(PROMPT)], [model.tokenize(TWIN)]
    for site in SITES:
        if site == "resid_mid" and model.info.parallel:
            continue
        for by_position in (False, True):
            layers = (0, 2) if by_position and model.info.n_heads == 4 else None
            plan = plan_sweep(
                model, site, base, source, by_position=by_position, layers=layers, interventions=stack, budget=1 << 30
            )
            if plan.decoder is None and site not in ("head_out", "resid_pre"):
                continue  # one run a cell on either side
            assert (gathered(plan) - one_by_one(plan)).abs().max() < 1e-9, (site, by_position)


@pytest.mark.parametrize("family", ["gpt2", "gemma2", "neox"])
def test_neurons_and_zero_ablation(tiny_models, family: str) -> None:
    model = tiny_models[family]
    for site, source in (("neurons", [model.tokenize(TWIN)]), ("neurons", None), ("head_out", None), ("mlp_out", None)):
        plan = plan_sweep(model, site, [model.tokenize(PROMPT)], source, layers=(1,))
        assert (gathered(plan) - one_by_one(plan)).abs().max() < 1e-9, (site, source)


def test_a_cell_means_what_the_intervention_means(tiny: Model) -> None:
    """Sweep, patch and ablation are one thing by three names."""
    tokens = tiny.tokenize(PROMPT)
    for site, make in (
        ("head_out", lambda cell: Head(cell.layer, cell.index)),
        ("neurons", lambda cell: Neuron(cell.layer, cell.index)),
    ):
        plan = plan_sweep(tiny, site, [tokens], [tiny.tokenize(TWIN)], layers=(1,))
        found = gathered(plan)
        for row in (0, len(plan.cells) - 1):
            patched = tiny.activations(tokens, (Patch(make(plan.cells[row]), TWIN),), ("resid_post",)).final[-1]
            assert (found[row, 0] - tiny.unembed(patched)).abs().max() < 1e-9


def test_prompts_of_several_lengths_run_together(tiny: Model) -> None:
    pairs = [(PROMPT, TWIN), ("The keys to the cabinet", "The book to the cabinet"), (TWIN, PROMPT), (OTHER, OTHER)]
    tokens = [(tiny.tokenize(a), tiny.tokenize(b)) for a, b in pairs]
    tokens = [(a, b) for a, b in tokens if len(a) == len(b)]
    read = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])[: len(tokens)]
    plan = plan_sweep(tiny, "head_out", [a for a, _ in tokens], [b for _, b in tokens], read=read)
    assert len(plan.groups) >= 2 and max(len(group.prompts) for group in plan.groups) >= 2
    expected = one_by_one(replace(plan, read=None)).gather(-1, read.expand(len(plan.cells), -1, -1))
    assert (gathered(plan) - expected).abs().max() < 1e-9


def test_a_small_budget_takes_fewer_prompts_at_once(tiny: Model) -> None:
    base, source = [tiny.tokenize(PROMPT)] * 6, [tiny.tokenize(TWIN)] * 6
    wide = plan_sweep(tiny, "head_out", base, source)
    small = replace(wide, budget=5 * wide.cached_bytes(wide.alone(0)))
    assert [len(group.prompts) for group in wide.groups] == [6] and [len(group.prompts) for group in small.groups] == [
        2,
        2,
        2,
    ]
    assert (gathered(small) - gathered(wide)).abs().max() < 1e-9


def test_identities_of_patching(tiny: Model) -> None:
    base, source = tiny.tokenize(PROMPT), tiny.tokenize(TWIN)
    logits = {
        text: tiny.unembed(tiny.activations(text_tokens, (), ("resid_post",)).final[-1])
        for text, text_tokens in (("base", base), ("source", source))
    }
    own = gathered(plan_sweep(tiny, "head_out", [base], [base]))
    assert (own[:, 0] - logits["base"]).abs().max() < 1e-9, "own values are a no-op"
    whole = gathered(plan_sweep(tiny, "resid_pre", [base], [source]))
    assert (whole[:, 0] - logits["source"]).abs().max() < 1e-9, "the whole stream is the other run"
    late = gathered(plan_sweep(tiny, "head_out", [base], [source], by_position=True, layers=[2]))
    assert (late.view(4, len(base), -1)[:, :-1] - logits["base"]).abs().max() < 1e-9, (
        "after its last use nothing changes"
    )


def test_a_chunk_smaller_than_the_sweep_changes_no_number(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_sweep(tiny, "head_out", [tiny.tokenize(PROMPT)], [tiny.tokenize(TWIN)], by_position=True)
    whole = gathered(plan)
    monkeypatch.setattr(sweeps.SweepPlan, "cells_at_once", lambda self, group, start: 2)
    assert (gathered(plan) - whole).abs().max() < 1e-9


def test_memory_that_runs_out_halves_the_chunk_and_says_so(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_sweep(tiny, "head_out", [tiny.tokenize(PROMPT)], [tiny.tokenize(TWIN)])
    expected, run = gathered(plan), Runner.run

    def short_of_memory(self, cells, start):
        if len(cells) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return run(self, cells, start)

    monkeypatch.setattr(Runner, "run", short_of_memory)
    notes = [part.note for part in run_sweep(plan)]
    assert notes[-1] == "Memory ran out; the sweep goes on with 3 runs at once."
    assert (gathered(plan) - expected).abs().max() < 1e-12
    monkeypatch.setattr(Runner, "run", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryBudgetError, match="not even hold one"):
        gathered(plan)


def test_a_cancelled_sweep_keeps_what_it_has(tiny: Model) -> None:
    plan = plan_sweep(tiny, "head_out", [tiny.tokenize(PROMPT)], [tiny.tokenize(TWIN)], by_position=True)
    seen = []
    for part in run_sweep(plan, lambda: len(seen) >= 3):
        seen.append(part)  # noqa: PERF402
    assert len(seen) == 3 and 0 < seen[-1].done < 1


def test_the_cost_is_told_before(smollm2: Model) -> None:
    plan = plan_sweep(smollm2, "head_out", [smollm2.tokenize(TWIN)], [smollm2.tokenize(PROMPT)])
    assert plan.cost.runs == 270 and 2 < plan.cost.forwards < 270 and plan.cost.bytes < plan.budget
    assert "270 patched runs" in str(plan.cost)


def test_what_cannot_be_swept(tiny: Model, tiny_models) -> None:
    tokens = tiny.tokenize(PROMPT)
    with pytest.raises(PairError, match="same number of tokens") as caught:
        plan_sweep(tiny, "head_out", [tokens], [tiny.tokenize(PROMPT + " Mary")])
    assert "·Mary" in str(caught.value) and "(nothing)" in str(caught.value)
    with pytest.raises(SiteError, match="There is no sweep over 'heads'"):
        plan_sweep(tiny, "heads", [tokens])
    with pytest.raises(SiteError, match="has layers 0 to 2"):
        plan_sweep(tiny, "head_out", [tokens], layers=[3])
    with pytest.raises(SiteError, match="read the same stream"):
        plan_sweep(tiny_models["neox"], "resid_mid", [tokens])
    with pytest.raises(PairError, match="equally long"):
        plan_sweep(tiny, "head_out", [tokens, tiny.tokenize("Mary")], by_position=True)
    with pytest.raises(MemoryBudgetError, match="the budget is 0 MB"):
        list(run_sweep(plan_sweep(tiny, "head_out", [tokens], budget=1000)))
    with pytest.raises(NotFiniteError, match="layer 0"):
        list(
            run_sweep(
                plan_sweep(
                    tiny,
                    "mlp_out",
                    [tokens],
                    interventions=(Scale(Resid(2, "resid_post"), 1e308), Scale(AttnOut(2), 1e308)),
                )
            )
        )


def test_the_bridge_sweeps_too(tiny: Model) -> None:
    bridge = load_model(tiny.info.source, dtype="float64", backend="bridge")
    plans = [
        plan_sweep(model, "head_out", [tiny.tokenize(PROMPT)], [tiny.tokenize(TWIN)], interventions=STACKS[1])
        for model in (tiny, bridge)
    ]
    assert (gathered(plans[0]) - gathered(plans[1])).abs().max() < 1e-5
