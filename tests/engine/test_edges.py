"""Edge mode, path patching and edge attribution: identities that hold to rounding, in float64."""

import random

import pytest
import torch

from explorer.analyses.activation_patching import activation_patching
from explorer.core.errors import BridgeError, InterventionError, NotFiniteError, PairError, SiteError
from explorer.core.pairs import ContrastPair
from explorer.core.sites import AttnOut, Edge, Embed, Head, HeadPart, KeyValue, Logits, MlpIn, MlpOut, Resid
from explorer.engine.edge_graph import edge_graph
from explorer.engine.edges import EdgeMode, mean_writes
from explorer.engine.gradients import activation_gradients, edge_scores, logit_difference
from explorer.engine.interventions import Ablate, EdgeAblate, EdgePatch, Freeze, Patch, Scale
from explorer.engine.model import Model, load_model
from explorer.models.info import ModelInfo
from tests.conftest import PROMPT, TWIN
from tests.tiny import COVERED, tiered
from tests.toys import TOYS, toy

pytestmark = pytest.mark.truth

MODELS = (*COVERED, *TOYS)
SCORE = logit_difference(torch.tensor([5]), torch.tensor([9]))
FAR = PROMPT.replace("When", "The")
"""A twin that differs from the first token on."""


@pytest.fixture(params=tiered(MODELS))
def any_model(request: pytest.FixtureRequest, tiny_models) -> Model:
    return toy(request.param) if request.param in TOYS else tiny_models[request.param]


def mode_of(model: Model, other: str = TWIN, stack=()) -> EdgeMode:
    return EdgeMode(model, [model.tokenize(PROMPT)], [model.tokenize(other)], stack)


def mask_of(mode: EdgeMode, value: float = 1.0) -> torch.Tensor:
    return torch.full((1, *mode.graph.exists.shape), value, dtype=torch.float64)


def logits_of(model: Model, text: str, stack=()) -> torch.Tensor:
    return model.unembed(model.activations(model.tokenize(text), stack, ("resid_post",)).final[-1])


@torch.no_grad()
def masked(mode: EdgeMode, mask: torch.Tensor) -> torch.Tensor:
    return mode.logits(mask)[:, 0]


def info(n_layers: int, n_heads: int, n_kv_heads: int) -> ModelInfo:
    return ModelInfo("", "", "", n_layers, n_heads, n_kv_heads, 1, 1, 1, 1, 1, 1, "float32", "cpu", "", "")


def test_sizes_of_known_graphs() -> None:
    gpt2_small = edge_graph(info(12, 12, 12))
    assert (len(gpt2_small.writers), len(gpt2_small.readers), gpt2_small.n_edges) == (157, 445, 32_491)
    smollm2 = edge_graph(info(30, 9, 3))
    assert (len(smollm2.writers), len(smollm2.readers), smollm2.n_edges) == (301, 481, 70_651)


def test_an_edge_by_name() -> None:
    graph = edge_graph(info(3, 4, 2))
    for edge in (Edge(Head(0, 1), KeyValue(2, 1, "k")), Edge(Embed(), MlpIn(0)), Edge(MlpOut(2), Logits())):
        assert graph.edge(*graph.place(edge)) == edge
    for absent in (Edge(Head(2, 0), HeadPart(1, 0, "q")), Edge(AttnOut(0), Logits()), Edge(MlpOut(1), MlpIn(1))):
        with pytest.raises(SiteError, match="no such edge"):
            graph.place(absent)


@pytest.mark.parametrize("other", [TWIN, FAR])
def test_all_edges_are_the_clean_run_and_none_the_corrupt_one(any_model: Model, other: str) -> None:
    mode = mode_of(any_model, other)
    assert (masked(mode, mask_of(mode))[0] - logits_of(any_model, PROMPT)).abs().max() < 1e-9
    assert (masked(mode, mask_of(mode, 0.0))[0] - logits_of(any_model, other)).abs().max() < 1e-9
    by_position = mask_of(mode)[..., None].repeat(1, 1, 1, len(any_model.tokenize(PROMPT)))
    assert (masked(mode, by_position)[0] - logits_of(any_model, PROMPT)).abs().max() < 1e-9


def test_several_pairs_and_masks_at_once(any_model: Model) -> None:
    a, b, c = (any_model.tokenize(text) for text in (PROMPT, TWIN, FAR))
    mode = EdgeMode(any_model, [a, b, c], [b, c, a])
    half = torch.bernoulli(mask_of(mode, 0.7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = mode.logits(torch.cat([half, 1 - half]))
        for pair, (clean, corrupt) in enumerate([(a, b), (b, c), (c, a)]):
            alone = EdgeMode(any_model, [clean], [corrupt])
            for row, mask in enumerate((half, 1 - half)):
                assert (together[row, pair] - alone.logits(mask)[0, 0]).abs().max() < 1e-9


def test_all_paths_out_of_a_node_are_activation_patching(any_model: Model) -> None:
    mode = mode_of(any_model)
    for number, writer in enumerate(mode.graph.writers):
        mask = mask_of(mode)
        mask[:, :, number] = 0
        if isinstance(writer, Embed):  # every edge out of the input: the corrupt run
            expected = logits_of(any_model, TWIN)
        else:
            expected = logits_of(any_model, PROMPT, (Patch(writer, TWIN),))
        assert (masked(mode, mask)[0] - expected).abs().max() < 1e-9, writer


def test_one_edge_by_mask_and_by_intervention(any_model: Model) -> None:
    mode, rng = mode_of(any_model), random.Random(0)
    edges = [mode.graph.edge(*place) for place in rng.sample(mode.graph.exists.nonzero().tolist(), 12)]
    edges += [mode.graph.edge(len(mode.graph.readers) - 1, 1), mode.graph.edge(0, 0)]
    for edge in edges:
        mask = mask_of(mode)
        mask[0][mode.graph.place(edge)] = 0
        patched = logits_of(any_model, PROMPT, (EdgePatch(edge, TWIN),))
        assert (masked(mode, mask)[0] - patched).abs().max() < 1e-9, str(edge)
    several = edges[:4]
    mask = mask_of(mode)
    for edge in several:
        mask[0][mode.graph.place(edge)] = 0
    patched = logits_of(any_model, PROMPT, tuple(EdgePatch(edge, TWIN) for edge in several))
    assert (masked(mode, mask)[0] - patched).abs().max() < 1e-9


def test_an_edge_at_chosen_positions(any_model: Model) -> None:
    mode = mode_of(any_model, FAR)
    writer = next(item for item in mode.graph.writers if isinstance(item, Head | AttnOut))
    edge, positions = Edge(writer, HeadPart(2, 1, "q")), (3, 13)
    mask = mask_of(mode)[..., None].repeat(1, 1, 1, 14)
    reader, number = mode.graph.place(edge)
    mask[0, reader, number, list(positions)] = 0
    patched = logits_of(any_model, PROMPT, (EdgePatch(edge, FAR, positions),))
    assert (masked(mode, mask)[0] - patched).abs().max() < 1e-9


def test_the_negated_mask_gradient_is_eap(any_model: Model) -> None:
    for other in (TWIN, FAR):
        mode = mode_of(any_model, other)
        scores, value = edge_scores(mode, SCORE)
        mask = mask_of(mode).requires_grad_()
        score = SCORE(mode.logits(mask)[0]).sum()
        (gradient,) = torch.autograd.grad(score, mask)
        assert (scores[0] + gradient[0]).abs().max() < 1e-9
        assert value[0] == pytest.approx(float(SCORE(logits_of(any_model, PROMPT)[None])[0]), abs=1e-9)


def test_eap_is_the_slope_of_the_mask(tiny: Model) -> None:
    mode = mode_of(tiny, FAR)
    scores, _ = edge_scores(mode, SCORE)
    clean = SCORE(masked(mode, mask_of(mode)))
    for reader, writer in mode.graph.exists.nonzero().tolist()[:: mode.graph.n_edges // 15]:
        mask = mask_of(mode)
        mask[0, reader, writer] = 1 - 1e-5
        slope = (SCORE(masked(mode, mask)) - clean) / 1e-5
        assert slope[0] == pytest.approx(float(scores[0, reader, writer]), rel=1e-3, abs=1e-6)


def test_eap_is_exact_in_a_linear_model() -> None:
    """Attention only, no norm, patterns held: the model is linear, so the estimate of every edge is its effect."""
    model = toy("attention-only, no norm")
    held = tuple(Patch(HeadPart(layer, head, "pattern"), PROMPT) for layer in range(3) for head in range(4))
    mode = mode_of(model, FAR, held)
    scores, _ = edge_scores(mode, SCORE)
    clean = SCORE(masked(mode, mask_of(mode)))
    places = mode.graph.exists.nonzero().tolist()
    masks = mask_of(mode).repeat(len(places), 1, 1)
    for row, (reader, writer) in enumerate(places):
        masks[row, reader, writer] = 0
    exact = torch.stack([SCORE(row[None])[0] for row in masked(mode, masks)]) - clean
    estimate = torch.stack([scores[0, reader, writer] for reader, writer in places])
    assert (exact - estimate).abs().max() < 1e-9 and exact.abs().max() > 1e-2
    assert estimate.count_nonzero() > len(places) / 4


@pytest.mark.slow
def test_integrated_edges_out_of_the_input_sum_to_the_whole_change(any_model: Model) -> None:
    """Completeness of EAP-IG: Σ over edges that leave the embedding = m(corrupt) − m(clean); not so for plain EAP."""
    mode = mode_of(any_model, FAR)
    change = float((SCORE(logits_of(any_model, FAR)[None]) - SCORE(logits_of(any_model, PROMPT)[None]))[0])
    scores, _ = edge_scores(mode, SCORE, steps=200)
    assert float(scores[0, :, 0].sum()) == pytest.approx(change, abs=1e-3)


def test_a_nodes_estimate_is_the_sum_over_its_edges(any_model: Model) -> None:
    """Attribution patching of a head = Σ EAP of the edges that leave it."""
    clean, corrupt = any_model.tokenize(PROMPT), any_model.tokenize(FAR)
    kinds = ("z", "mlp_out") if mode_of(any_model).graph.has_mlp else ("z",)
    values, gradients = activation_gradients(any_model, clean, kinds, SCORE)
    others, _ = activation_gradients(any_model, corrupt, kinds, SCORE)
    mode = mode_of(any_model, FAR)
    scores, _ = edge_scores(mode, SCORE)
    by_head = ((others["z"] - values["z"]) * gradients["z"]).sum((1, 3))
    for number, writer in enumerate(mode.graph.writers):
        if isinstance(writer, Head):
            assert float(scores[0, :, number].sum()) == pytest.approx(
                float(by_head[writer.layer, writer.head]), abs=1e-9
            )


def test_direct_contributions_and_biases_are_the_logit(any_model: Model) -> None:
    """Σ writes + biases = the final stream; with the final norm's scale held, their logits add up too."""
    mode = mode_of(any_model, FAR)
    decoder = mode.decoder
    written = mode.written(mode.clean)
    total = written.writes.sum(1)
    if decoder.blocks[0].norm_attn_out is None:
        total = total + sum(block.o.bias for block in decoder.blocks if block.o.bias is not None)
    assert (total - written.final).abs().max() < 1e-9


def test_the_stack_holds_in_edge_mode(any_model: Model) -> None:
    stack = (
        Ablate(Head(1, 2)),
        Patch(HeadPart(0, 1, "q"), TWIN),
        Ablate(KeyValue(2, 0, "v"), "mean", reference=(PROMPT, TWIN)),
    )
    mode = mode_of(any_model, FAR, stack)
    assert (masked(mode, mask_of(mode))[0] - logits_of(any_model, PROMPT, stack)).abs().max() < 1e-9
    assert (masked(mode, mask_of(mode, 0.0))[0] - logits_of(any_model, FAR, stack)).abs().max() < 1e-9


def test_a_mask_under_which_a_value_is_no_longer_finite_names_the_writer(tiny: Model) -> None:
    mode = mode_of(tiny, FAR, (Scale(MlpOut(1), 1e308),))
    with pytest.raises(NotFiniteError, match=r"What L2H0 writes is not finite|What L1.mlp_out writes is not finite"):
        masked(mode, mask_of(mode, 1e10))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_half_precision(tiny_directories, dtype: str) -> None:
    """Sweeps, edges and gradients in the model's own precision, near the same in float64."""
    exact, rounded = (load_model(str(tiny_directories["llama"]), dtype=kind) for kind in ("float64", dtype))
    pair = ContrastPair(PROMPT, FAR, " a", " the")
    limit = {"float32": 1e-5, "float16": 0.02, "bfloat16": 0.2}[dtype]
    for site in ("head_out", "resid_pre"):
        one, other = (activation_patching(model, pair, site).raw for model in (exact, rounded))
        assert abs(one - other).max() < limit
    (one, _), (other, _) = (edge_scores(mode_of(model, FAR), SCORE) for model in (exact, rounded))
    assert (one - other.double()).abs().max() < limit
    modes = [mode_of(model, FAR) for model in (exact, rounded)]
    assert (masked(modes[0], mask_of(modes[0], 0.5)) - masked(modes[1], mask_of(modes[1], 0.5))).abs().max() < limit


def test_what_edge_mode_refuses(tiny: Model) -> None:
    with pytest.raises(PairError, match="same number of tokens"):
        mode_of(tiny, TWIN + " Mary")
    with pytest.raises(InterventionError, match="act on its nodes"):
        mode_of(tiny, TWIN, (Ablate(Resid(1, "resid_pre")),))
    with pytest.raises(InterventionError, match="other values into each prompt"):
        mode_of(tiny, TWIN, (Freeze(Head(0, 0)),))
    bridge = load_model(tiny.info.source, dtype="float64", backend="bridge")
    with pytest.raises(BridgeError, match="runs on the bridge"):
        mode_of(bridge)
    with pytest.raises(InterventionError, match="engine alone"):
        logits_of(bridge, PROMPT, (EdgePatch(Edge(Head(0, 0), Logits()), TWIN),))


@pytest.mark.parametrize(
    ("edge", "said"),
    [
        (Edge(Head(1, 0), HeadPart(1, 1, "q")), "writes after"),
        (Edge(MlpOut(1), MlpIn(1)), "writes after"),
        (Edge(Head(0, 9), Logits()), "has heads 0 to 3"),
        (Edge(Head(0, 0), HeadPart(1, 0, "z")), "reads nothing from the residual stream"),
        (Edge(Head(0, 0), MlpIn(7)), "has layers 0 to 2"),
    ],
    ids=str,
)
def test_edges_that_a_model_does_not_have(tiny: Model, edge: Edge, said: str) -> None:
    with pytest.raises((InterventionError, SiteError), match=said):
        logits_of(tiny, PROMPT, (EdgePatch(edge, TWIN),))


def test_a_stack_that_cuts_its_own_edge_contradicts_itself(tiny: Model) -> None:
    edge = EdgePatch(Edge(Head(0, 0), MlpIn(1)), TWIN)
    for cut in (Resid(0, "resid_mid"), Resid(0, "resid_post"), Resid(1, "resid_pre"), Resid(1, "resid_mid")):
        with pytest.raises(InterventionError, match="contradict each other"):
            logits_of(tiny, PROMPT, (edge, Ablate(cut)))
    for fine in (Resid(0, "resid_pre"), Resid(1, "resid_post")):
        logits_of(tiny, PROMPT, (edge, Ablate(fine)))


def test_gemma_heads_are_no_summands(tiny_models) -> None:
    with pytest.raises(InterventionError, match=r"Use L0.attn_out as the sender"):
        logits_of(tiny_models["gemma2"], PROMPT, (EdgePatch(Edge(Head(0, 0), Logits()), TWIN),))


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_what_edges_carry_that_are_not_kept(any_model: Model, how) -> None:
    """Each way of ablating: all edges are the clean run; all edges out of one node cut are that node's own ablation."""
    clean, corrupt = any_model.tokenize(PROMPT), any_model.tokenize(FAR)
    mode = EdgeMode(any_model, [clean], [corrupt], (), how)
    assert (masked(mode, mask_of(mode))[0] - logits_of(any_model, PROMPT)).abs().max() < 1e-9
    for number, writer in list(enumerate(mode.graph.writers))[1::3]:
        mask = mask_of(mode)
        mask[:, :, number] = 0
        if how == "mean":  # the mean at each position, which no single intervention gives: patch it in by hand
            means = mean_writes(any_model, [clean, corrupt])
            both = EdgeMode(any_model, [clean, corrupt], [clean, corrupt]).base.writes
            assert (means - both.mean(0)).abs().max() < 1e-12
            continue
        stack = (Ablate(writer, how, reference=(FAR,) if how == "resample" else ()),)
        assert (masked(mode, mask)[0] - logits_of(any_model, PROMPT, stack)).abs().max() < 1e-9, writer
    if how == "mean" and not any_model.info.parallel:
        last = mask_of(mode)
        last[:, -1] = 0  # the logits alone read means: the unembedding of their sum and the biases
        written = EdgeMode(any_model, [clean], [clean]).base
        final = written.final[0] + (mean_writes(any_model, [clean, corrupt]) - written.writes[0]).sum(0)
        assert (masked(mode, last)[0] - any_model.unembed(final[-1])).abs().max() < 1e-9


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_a_changed_edge_is_the_edge_cut_in_that_way(any_model: Model, how) -> None:
    """An edge of the stack in edge mode = the same intervention in an ordinary run, under the full and the empty mask."""
    mode = mode_of(any_model, FAR)
    heads = [number for number, writer in enumerate(mode.graph.writers) if isinstance(writer, Head | AttnOut)]
    places = [(len(mode.graph.readers) - 1, heads[0]), (mode.graph.reader_index[HeadPart(2, 1, "q")], heads[-1] // 2)]
    edges = [mode.graph.edge(*place) for place in places]
    stack = tuple(EdgeAblate(edge, how, reference=(TWIN,) if how == "resample" else (PROMPT, FAR)) for edge in edges)
    under = mode_of(any_model, FAR, stack)
    assert (masked(under, mask_of(under))[0] - logits_of(any_model, PROMPT, stack)).abs().max() < 1e-9
    assert (masked(under, mask_of(under, 0.0))[0] - logits_of(any_model, FAR, stack)).abs().max() < 1e-9
    assert (logits_of(any_model, PROMPT, stack) - logits_of(any_model, PROMPT)).abs().max() > 1e-6
