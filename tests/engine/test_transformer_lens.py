"""Our sweeps and edge scores against TransformerLens' own functions, on one set of weights, in float64."""

from importlib import metadata

import pytest
import torch
from transformer_lens import patching

from explorer.core.sites import Embed, Head, HeadPart, KeyValue, Logits, MlpIn, MlpOut
from explorer.engine.edges import EdgeMode
from explorer.engine.gradients import edge_scores, logit_difference
from explorer.engine.model import Model
from explorer.engine.sweep import run_sweep
from explorer.engine.sweep_plan import plan_sweep
from tests.conftest import PROMPT, TWIN

pytestmark = pytest.mark.reference

ANSWER, DISTRACTOR = 5, 9
ORDINARY = ("gpt2", "llama", "llama3-rope", "qwen2", "neox-sequential")
"""Families in which the bridge's hooks reach what their names say."""
SWEEPS = {
    ("head_out", False): "get_act_patch_attn_head_out_all_pos",
    ("head_out", True): "get_act_patch_attn_head_out_by_pos",
    ("q", False): "get_act_patch_attn_head_q_all_pos",
    ("pattern", False): "get_act_patch_attn_head_pattern_all_pos",
    ("resid_pre", True): "get_act_patch_resid_pre",
    ("attn_out", True): "get_act_patch_attn_out",
    ("mlp_out", True): "get_act_patch_mlp_out",
}


def metric(logits: torch.Tensor) -> torch.Tensor:
    return logits[0, -1, ANSWER] - logits[0, -1, DISTRACTOR]


@pytest.mark.slow
@pytest.mark.parametrize("family", ORDINARY)
@pytest.mark.parametrize(("site", "by_position"), SWEEPS, ids=str)
def test_sweeps_equal_transformer_lens(tiny_models, family: str, site: str, by_position: bool) -> None:
    model: Model = tiny_models[family]
    clean, corrupt = model.tokenize(PROMPT), model.tokenize(TWIN)
    plan = plan_sweep(
        model, site, [corrupt], [clean], by_position=by_position, read=torch.tensor([[ANSWER, DISTRACTOR]])
    )
    ours = torch.full((len(plan.cells),), torch.nan, dtype=torch.float64)
    for part in run_sweep(plan):
        ours[part.cells] = part.logits[:, 0, 0] - part.logits[:, 0, 1]
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(model.batch(clean.ids))
        theirs = getattr(patching, SWEEPS[site, by_position])(model.bridge, model.batch(corrupt.ids), cache, metric)
    if by_position and site == "head_out":
        theirs = theirs.permute(0, 2, 1)  # theirs is [layer, pos, head]
    assert (ours.view(plan.shape) - theirs).abs().max() < 1e-5
    assert (ours - ours[0]).abs().max() > 1e-4


def name_of(node) -> object:
    """Our writer or reader of one of TransformerLens' nodes."""
    match node.kind:
        case "embed":
            return Embed()
        case "attn_head_out":
            return Head(node.layer, node.head)
        case "mlp_out":
            return MlpOut(node.layer)
        case "q_input":
            return HeadPart(node.layer, node.head, "q")
        case "k_input" | "v_input":
            return KeyValue(node.layer, node.head, node.kind[0])
        case "mlp_in":
            return MlpIn(node.layer)
    return Logits()


@pytest.mark.skipif(
    int(metadata.version("transformer-lens").split(".")[0]) < 4, reason="edge attribution came with transformer-lens 4"
)
@pytest.mark.parametrize("family", ["gpt2", "llama3-rope", "neox-sequential"])
@pytest.mark.parametrize("other", [TWIN, PROMPT.replace("When", "The")])
def test_edge_scores_equal_transformer_lens(tiny_models, family: str, other: str) -> None:
    from transformer_lens.tools.analysis import EdgeAttributionConfig, attribution_patch

    model: Model = tiny_models[family]
    clean, corrupt = model.tokenize(PROMPT), model.tokenize(other)
    model.bridge.original_model.requires_grad_(True)  # theirs differentiates through the weights
    try:
        config = EdgeAttributionConfig(granularity="edge")
        theirs = attribution_patch(model.bridge, model.batch(clean.ids), model.batch(corrupt.ids), metric, config)
    finally:
        model.bridge.original_model.requires_grad_(False)
    summed = torch.zeros(EdgeMode(model, [clean], [corrupt]).graph.exists.shape, dtype=torch.float64)
    # theirs: (clean − corrupt) · gradient on the corrupt run, by position; embeddings of positions are no writer there
    mode = EdgeMode(model, [corrupt], [clean])
    for (writer, reader), score in theirs.edge_scores.items():
        summed[mode.graph.reader_index[name_of(reader)], mode.graph.writer_index[name_of(writer)]] += score
    ours, _ = edge_scores(mode, logit_difference(torch.tensor([ANSWER]), torch.tensor([DISTRACTOR])))
    assert (ours[0] - summed).abs().max() < 1e-6 and summed.abs().max() > 1e-4
