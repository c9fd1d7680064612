"""The effect of taking each head away: one exact run a head, when it is asked for."""

from typing import Any

import numpy as np
import streamlit as st
import torch

from explorer.engine.sweep import run_sweep
from explorer.engine.sweep_plan import plan_sweep
from explorer.metrics.objectives import objective_of
from explorer.ui.desk import Desk
from explorer.ui.on_request import on_request


def ablation_effects(desk: Desk) -> np.ndarray | None:
    """[layer, head] change of the objective when a head is set to zero, under the interventions; None until measured."""
    objective = objective_of(desk.model, desk.answer, desk.distractor)
    if objective is None:
        st.caption("Write an answer on the Prompt page: effects are measured on its logit.")
        return None
    if desk.position != len(desk.tokens) - 1:
        st.caption("Effects are measured at the last position; read that one to see them.")
        return None
    other = objective.answer if objective.distractor is None else objective.distractor

    def work(progress: Any, cancelled: Any) -> np.ndarray:
        read = torch.tensor([[objective.answer, other]])
        plan = plan_sweep(desk.model, "head_out", [desk.tokens], interventions=desk.stack, read=read)
        logits = desk.model.unembed(desk.model.activations(desk.tokens, desk.stack, ("resid_post",)).final[-1]).double()
        before = logits[objective.answer] - (0 if objective.distractor is None else logits[other])
        found = np.full(len(plan.cells), np.nan)
        for part in run_sweep(plan, cancelled):
            wide = part.logits[:, 0].double()
            after = wide[:, 0] - (0 if objective.distractor is None else wide[:, 1])
            found[part.cells] = (after - before).cpu().numpy()
            progress(part.done, f"{int(np.isfinite(found).sum())} of {found.size} heads")
        return found.reshape(plan.shape)

    inputs = (desk.model.identity, tuple(desk.tokens.ids), desk.stack, objective)
    found: np.ndarray | None = on_request(
        "ablation_effects",
        "Measure every head's effect",
        inputs,
        work,
        help="One run a head, with its output set to zero.",
    )
    return found
