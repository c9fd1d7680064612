"""Identities of patching, estimates, paths and mediation, in float64 on random models, and on models whose circuit is known."""

import numpy as np
import pytest
import torch

import explorer as ex
from explorer.engine.edges import EdgeMode
from explorer.engine.gradients import edge_scores, logit_difference
from explorer.metrics.effects import Effects, gates
from tests.conftest import PROMPT, TWIN
from tests.toys import affine_toy, toy

pytestmark = pytest.mark.truth

PAIR = ex.ContrastPair(PROMPT, TWIN, " a", " the")
LAST = ex.ContrastPair("The keys to the cabinet", "The keys to the store", " a", " the")
SHORT = ex.ContrastPair("The keys to the cabinet", "The store to the cabinet", " a", " the")


def exact_pair(key: str) -> tuple[ex.Model, ex.ContrastPair]:
    from explorer.models.zoo.knowledge import own_examples

    return ex.load_model(key, dtype="float64"), own_examples(key)[0]


# Attribution patching


@pytest.mark.parametrize("site", ["resid_pre", "resid_post", "mlp_out", "neurons"])
@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_the_estimate_is_exact_where_the_model_is_linear(site: str, direction) -> None:
    model = affine_toy()
    options = {"direction": direction, "by_position": True, "layers": (1,) if site == "neurons" else None}
    estimate = ex.attribution_patching(model, LAST, site, **options)
    exact = ex.activation_patching(model, LAST, site, **options)
    assert estimate.raw.shape == exact.raw.shape and estimate.axes == exact.axes and estimate.layers == exact.layers
    assert np.abs(exact.raw).max() > 1e-3 and np.allclose(estimate.raw, exact.raw, atol=1e-11)
    assert isinstance(estimate, Effects) and not isinstance(estimate, ex.ActivationPatching)


def test_a_nodes_estimate_is_the_sum_of_its_edges(tiny: ex.Model) -> None:
    """EAP's score of an edge is the predicted change when it is corrupted; summed over readers it is the node's."""
    tokens = [tiny.tokenize(text) for text in (PROMPT, TWIN)]
    read = [tiny.single_token(text) for text in (" a", " the")]
    mode = EdgeMode(tiny, tokens[:1], tokens[1:])
    scores, _ = edge_scores(mode, logit_difference(*(torch.tensor([token]) for token in read)))
    by_writer = dict(zip(map(str, mode.graph.writers), scores[0].sum(0).tolist(), strict=True))
    heads = ex.attribution_patching(tiny, PAIR, "head_out", direction="noising").raw
    mlps = ex.attribution_patching(tiny, PAIR, "mlp_out", direction="noising").raw
    for layer in range(3):
        assert by_writer[f"L{layer}.mlp_out"] == pytest.approx(mlps[layer], abs=1e-9)
        for head in range(4):
            assert by_writer[f"L{layer}H{head}"] == pytest.approx(heads[layer, head], abs=1e-9)


def test_positions_and_parts_of_an_estimate_add_up(tiny: ex.Model) -> None:
    for site in ("head_out", "q", "k", "v", "pattern", "resid_mid", "neurons"):
        whole = ex.attribution_patching(tiny, PAIR, site)
        parted = ex.attribution_patching(tiny, PAIR, site, by_position=True)
        assert np.allclose(parted.raw.sum(-1), whole.raw, atol=1e-12) and parted.axes[-1] == "pos"
    heads = ex.attribution_patching(tiny, PAIR, "head_out").raw.sum(1)
    assert np.allclose(heads, ex.attribution_patching(tiny, PAIR, "attn_out").raw, atol=1e-9)


def test_the_estimate_is_the_slope_of_the_exact_effect(tiny: ex.Model) -> None:
    """A small step along the patch changes the objective by that share of the estimate: an independent derivative."""
    estimate = ex.attribution_patching(tiny, PAIR, "mlp_out", by_position=True, direction="noising")
    layer, position = divmod(int(np.abs(estimate.raw).argmax()), estimate.raw.shape[1])
    values = [
        tiny.activations(tiny.tokenize(text), (), ("mlp_out",)).kept["mlp_out"][layer][position]
        for text in (PROMPT, TWIN)
    ]
    step = 1e-5
    vector = tuple((values[1] - values[0]).tolist())
    stacks = [[ex.Steer(ex.MlpOut(layer), vector, sign * step, (position,))] for sign in (1, -1)]
    ends = [run_wide(tiny, stack) for stack in stacks]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(estimate.raw[layer, position], rel=1e-4)


def run_wide(model: ex.Model, stack) -> float:
    tokens = model.tokenize(PROMPT)
    logits = model.unembed(model.activations(tokens, tuple(stack), ("resid_post",)).final[-1])
    return float(logits[model.single_token(" a")] - logits[model.single_token(" the")])


# Models whose circuit is known


def test_in_the_handmade_induction_two_heads_matter() -> None:
    model, pair = exact_pair("induction-handmade")
    for direction in ("denoising", "noising"):
        found = ex.activation_patching(model, pair, "head_out", direction=direction)
        matter = {(row.layer, row["head"]) for _, row in found.frame.iterrows() if abs(row["change"]) > 0}
        assert matter == {(0, 1), (1, 2)}, direction
        assert np.allclose(found.strength[[0, 1], [1, 2]].max(), 1.0, atol=0.05)


def test_gates_show_that_the_directions_disagree() -> None:
    for key, named in (("gate-and", "AND-like"), ("gate-or", "OR-like")):
        model, pair = exact_pair(key)
        both = [ex.activation_patching(model, pair, "head_out", direction=way) for way in ("denoising", "noising")]
        assert gates(*both).tolist() == [[named, named]]
        restored, removed = both[0].strength, both[1].strength
        expected = (0.0, 1.0) if key == "gate-and" else (1.0, 0.0)
        assert np.allclose(restored, expected[0], atol=1e-9) and np.allclose(removed, expected[1], atol=1e-9)
        together = ex.joint_patching(model, pair, [ex.Place(ex.Head(0, 0)), ex.Place(ex.Head(0, 1))])
        span = together.clean[0] - together.corrupt[0]
        assert together.joint[0] == pytest.approx(span, abs=1e-9)  # both restore all, in either gate
        assert together.interaction[0] == pytest.approx(span * (1 if key == "gate-and" else -1), abs=1e-9)


def test_planted_edges_are_found_and_no_other() -> None:
    from explorer.models.zoo.knowledge import own_examples

    model, _ = exact_pair("planted-edges")
    planted = {str(edge) for edge in ex.true_circuit("planted-edges").edges}
    senders = [ex.Embed(), ex.MlpOut(0), *(ex.Head(layer, head) for layer in range(2) for head in range(3))]
    found = set()
    for pair in own_examples("planted-edges"):
        for way in ("noising", "denoising"):
            for sender in senders:
                frame = ex.path_map(model, pair, sender, direction=way, mlps="frozen").frame
                found |= {f"{sender} → {row.receiver}" for row in frame.itertuples() if abs(row.change) > 1e-9}
    assert found == planted


# Path patching


@pytest.mark.parametrize("norms", ["recomputed", "frozen"])
@pytest.mark.parametrize("sender", [ex.Head(0, 1), ex.MlpOut(0), ex.AttnOut(1), ex.Embed()], ids=str)
def test_all_paths_are_the_total_effect(tiny_models, sender, norms: str) -> None:
    for family in ("gpt2", "llama", "gemma2", "neox"):
        model = tiny_models[family]
        found = ex.path_patching(model, PAIR, sender, [ex.Logits()], norms=norms)
        if family == "gemma2" and isinstance(sender, ex.Head):
            assert np.isnan(found.all_paths[0]) and "not checked" in found.notes[0]
        else:
            assert found.check < 1e-9 and abs(found.total[0]) > 1e-9, family


@pytest.mark.parametrize(
    "receiver", [ex.HeadPart(2, 1, "q"), ex.KeyValue(1, 0, "v"), ex.MlpIn(1), ex.Logits()], ids=str
)
@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_a_single_direct_path_is_one_edge(tiny: ex.Model, receiver, direction) -> None:
    """With MLPs held, one receiver: the same number from a mask of edges, and from `EdgePatch`."""
    sender = ex.Head(0, 1)
    found = ex.path_patching(tiny, PAIR, sender, [receiver], direction=direction, mlps="frozen").direct[0]
    base, source = (PROMPT, TWIN) if direction == "noising" else (TWIN, PROMPT)
    mode = EdgeMode(tiny, [tiny.tokenize(base)], [tiny.tokenize(source)])
    mask = mode.graph.exists.double()[None].clone()
    plain = mask.clone()
    mask[0, mode.graph.readers.index(receiver), mode.graph.writers.index(sender)] = 0
    read = torch.tensor([[tiny.single_token(" a"), tiny.single_token(" the")]])
    logits = [mode.logits(each, read)[0, 0] for each in (mask, plain)]
    assert found == pytest.approx(float((logits[0] - logits[1]) @ torch.tensor([1.0, -1.0]).double()), abs=1e-9)
    assert abs(found) > 1e-9
    patched = ex.run(tiny, base, [ex.EdgePatch(ex.Edge(sender, receiver), source)])
    plain_run = ex.run(tiny, base)
    difference = patched.logit_difference(" a", " the") - plain_run.logit_difference(" a", " the")
    assert found == pytest.approx(difference, abs=1e-4)


def test_the_bridge_agrees_on_paths(tiny_directories, tiny_models) -> None:
    for family in ("gpt2", "llama"):
        bridge = ex.load_model(str(tiny_directories[family]), dtype="float64", backend="bridge")
        for receivers in ([ex.HeadPart(2, 1, "q"), ex.KeyValue(1, 0, "k")], [ex.MlpIn(2), ex.Logits()]):
            ours, theirs = (
                ex.path_patching(model, PAIR, ex.Head(0, 2), receivers) for model in (tiny_models[family], bridge)
            )
            assert ours.direct[0] == pytest.approx(theirs.direct[0], abs=1e-9 if family == "gpt2" else 1e-6)
            assert np.isnan(theirs.all_paths[0]) and "not checked" in theirs.notes[0]
        with pytest.raises(ex.ExplorerError, match="frozen norm"):
            ex.path_patching(bridge, PAIR, ex.Head(0, 2), [ex.Logits()], norms="frozen")


def test_frozen_norms_make_direct_paths_to_the_logits_linear(tiny: ex.Model) -> None:
    """With norms and MLPs held, what two heads send straight to the logits adds up; and it is their direct attribution."""
    options = {"mlps": "frozen", "norms": "frozen"}
    heads = [ex.path_patching(tiny, PAIR, ex.Head(1, head), [ex.Logits()], **options).direct[0] for head in range(4)]
    whole = ex.path_patching(tiny, PAIR, ex.AttnOut(1), [ex.Logits()], **options).direct[0]
    assert sum(heads) == pytest.approx(whole, abs=1e-9)
    recomputed = ex.path_patching(tiny, PAIR, ex.AttnOut(1), [ex.Logits()], mlps="frozen").direct[0]
    assert abs(recomputed - whole) > 1e-9


def test_frozen_norms_against_a_run_by_hand() -> None:
    """Without norms, held and recomputed are one."""
    model = toy("no norm")
    for receivers in ([ex.HeadPart(2, 1, "q")], [ex.MlpIn(1), ex.Logits()]):
        both = [
            ex.path_patching(model, PAIR, ex.Head(0, 1), receivers, norms=norms).direct[0]
            for norms in ("frozen", "recomputed")
        ]
        assert both[0] == pytest.approx(both[1], abs=1e-12) and abs(both[0]) > 1e-9


@pytest.mark.parametrize("norms", ["recomputed", "frozen"])
@pytest.mark.parametrize("mlps", ["recomputed", "frozen"])
def test_the_map_is_each_receiver_alone(tiny: ex.Model, mlps, norms) -> None:
    options = {"direction": "denoising", "mlps": mlps, "norms": norms, "interventions": [ex.Ablate(ex.Head(1, 3))]}
    frame = ex.path_map(tiny, PAIR, ex.Head(0, 1), **options).frame.set_index("receiver")["change"]
    n_kv = tiny.info.n_kv_heads
    assert len(frame) == 2 * (4 + 2 * n_kv) + 3 + 1
    for receiver in (
        ex.HeadPart(1, 2, "q"),
        ex.KeyValue(2, 0, "k"),
        ex.KeyValue(1, 1, "v"),
        ex.MlpIn(0),
        ex.MlpIn(2),
        ex.Logits(),
    ):
        alone = ex.path_patching(tiny, PAIR, ex.Head(0, 1), [receiver], **options).direct[0]
        if norms == "frozen" and isinstance(receiver, ex.Logits):
            assert frame["logits"] == pytest.approx(alone, abs=1e-9)
        assert frame[str(receiver)] == pytest.approx(alone, abs=1e-9), receiver


def test_paths_that_cannot_be(tiny: ex.Model) -> None:
    with pytest.raises(ex.ExplorerError, match="writes after"):
        ex.path_patching(tiny, PAIR, ex.Head(2, 0), [ex.HeadPart(1, 0, "q")])
    with pytest.raises(ex.ExplorerError, match="at least one receiver"):
        ex.path_patching(tiny, PAIR, ex.Head(0, 0), [])


def test_the_receivers_attention_is_that_of_its_patched_queries(tiny: ex.Model) -> None:
    found = ex.path_patching(tiny, PAIR, ex.MlpOut(0), [ex.HeadPart(2, 1, "q")])
    before, after = found.patterns["L2H1"]
    plain = tiny.activations(tiny.tokenize(PROMPT), (), ("pattern",)).kept["pattern"][2][1].numpy()
    assert np.allclose(before, plain) and np.allclose(after.sum(1), 1) and np.abs(after - before).max() > 1e-9


# Mediation


@pytest.mark.parametrize(
    "mediators", [[ex.Head(1, 2)], [ex.MlpOut(0), ex.Head(2, 1)], [ex.Resid(1, "resid_pre")]], ids=str
)
def test_total_is_direct_less_reverse_indirect(tiny: ex.Model, mediators) -> None:
    stack = [ex.Scale(ex.MlpOut(1), 0.5)]
    found = ex.mediation(tiny, [PAIR, SHORT], mediators, interventions=stack)
    assert found.check < 1e-9
    noising = ex.joint_patching(
        tiny, [PAIR, SHORT], [ex.Place(site) for site in mediators], direction="noising", interventions=stack
    )
    denoising = ex.joint_patching(tiny, [PAIR, SHORT], [ex.Place(site) for site in mediators], interventions=stack)
    assert np.allclose(found.indirect, noising.joint, atol=1e-9)
    assert np.allclose(found.reverse_indirect, denoising.joint, atol=1e-9)
    assert np.allclose(found.total, noising.corrupt - noising.clean, atol=1e-9)
    if isinstance(mediators[0], ex.Resid):  # nothing goes past the whole stream
        assert np.allclose(found.indirect, found.total, atol=1e-9) and np.allclose(found.direct, 0, atol=1e-9)


def test_direct_and_indirect_add_up_only_without_interaction() -> None:
    linear = ex.mediation(affine_toy(), LAST, ex.MlpOut(1))
    assert np.abs(linear.interaction).max() < 1e-9 and np.abs(linear.total).max() > 1e-6
    model, pair = exact_pair("gate-and")
    gate = ex.mediation(model, pair, ex.Head(0, 0))
    assert gate.check < 1e-9 and abs(gate.interaction[0]) > 1  # each bit alone shuts the gate


# Noise, controls, intervals


def test_noise_is_a_corruption_like_another_prompt(tiny: ex.Model, monkeypatch) -> None:
    monkeypatch.setattr("explorer.metrics.effects.SMALLEST_SPAN", 1e-9)
    noise = ex.Noise((3, 9), seed=5)
    found = ex.activation_patching(tiny, PAIR, "resid_pre", noise=noise, draws=3, by_position=True)
    assert found.by_pair.shape == (3, 3, 14) and len(set(found.corrupt.tolist())) == 3 and np.ptp(found.clean) == 0
    other = ex.run(tiny, PROMPT, [ex.Noise((3, 9), seed=6)]).logit_difference(" a", " the")
    assert found.corrupt[1] == pytest.approx(other, abs=1e-4)
    assert np.allclose(found.by_pair[:, 0, [n for n in range(14) if n not in (3, 9)]], 0, atol=1e-12)
    everywhere = ex.activation_patching(tiny, PAIR, "resid_pre", noise=noise, draws=3)
    assert np.allclose(everywhere.values, 1.0, atol=1e-9)
    estimate = ex.attribution_patching(tiny, PAIR, "resid_post", noise=ex.Noise((3,), 1e-4), draws=1, by_position=True)
    exact = ex.activation_patching(tiny, PAIR, "resid_post", noise=ex.Noise((3,), 1e-4), draws=1, by_position=True)
    assert np.allclose(estimate.raw, exact.raw, rtol=1e-2, atol=1e-12)  # small steps are linear
    sd = tiny.embedding_sd
    tokens = tiny.tokenize(PROMPT)
    plain, noisy = (
        tiny.activations(tokens, stack, ("resid_pre",)).kept["resid_pre"][0] for stack in ((), (ex.Noise(scale=3.0),))
    )
    assert float((noisy - plain).std()) == pytest.approx(3 * sd, rel=0.1)
    weights = tiny.bridge.W_E.double()
    assert sd == pytest.approx(float(weights.std()), rel=1e-6)


def test_the_control_at_random_positions_is_a_patch_there(tiny: ex.Model) -> None:
    pairs = [PAIR, SHORT]
    control = ex.activation_patching(tiny, pairs, control="positions", seed=4)
    assert control.control == "positions" and control.axes == ("layer", "head")
    for row, pair in enumerate(pairs):
        by_position = ex.activation_patching(tiny, pair, by_position=True).by_pair[0]
        matches = [
            p for p in range(by_position.shape[-1]) if np.allclose(by_position[..., p], control.by_pair[row], atol=1e-9)
        ]
        assert matches and matches[-1] >= (9 if pair is PAIR else 1)
    with pytest.raises(ex.ExplorerError, match="random positions"):
        ex.activation_patching(tiny, pairs[:1], control="positions", by_position=True)


def test_the_control_with_other_prompts_takes_their_values(tiny: ex.Model) -> None:
    other = ex.ContrastPair(PROMPT.replace(" a ", " the "), TWIN.replace(" a ", " the "), " a", " the")
    control = ex.activation_patching(tiny, [PAIR, other], "mlp_out", control="prompts")
    base = ex.run(tiny, TWIN).logit_difference(" a", " the")
    patched = ex.run(tiny, TWIN, [ex.Patch(ex.MlpOut(1), other.clean)]).logit_difference(" a", " the")
    assert control.by_pair[0, 1] == pytest.approx(patched - base, abs=1e-4)
    with pytest.raises(ex.ExplorerError, match="two pairs of each length"):
        ex.activation_patching(tiny, [PAIR, SHORT], control="prompts")


def test_intervals_are_those_of_the_bootstrap(tiny: ex.Model) -> None:
    """Against the plain loop, and against the normal theory of a mean."""
    rng = np.random.default_rng(0)
    by_pair = rng.normal(1.0, 2.0, (200, 3))
    made = Effects(
        by_pair, np.ones(200), np.zeros(200), "x", "denoising", ("layer",), (0, 1, 2), (), (), tiny.provenance([])
    )
    low, high = made.interval(resamples=4000)
    theory = 1.96 * by_pair.std(0) / np.sqrt(200)
    assert np.allclose(high - made.raw, theory, rtol=0.1) and np.allclose(made.raw - low, theory, rtol=0.1)
    loop = np.array([by_pair[rng.integers(200, size=200)].mean(0) for _ in range(4000)])
    assert np.allclose(np.quantile(loop, 0.025, axis=0), low, atol=0.03)


def test_a_stack_may_differ_by_pair_and_side(tiny: ex.Model) -> None:
    def stack(pair: ex.ContrastPair, side: str):
        return [ex.Patch(ex.Head(0, 1), pair.corrupt if side == "clean" else pair.clean)]

    found = ex.activation_patching(tiny, PAIR, "mlp_out", interventions=stack)
    alone = ex.run(tiny, PROMPT, [ex.Patch(ex.Head(0, 1), TWIN)]).logit_difference(" a", " the")
    assert found.clean[0] == pytest.approx(alone, abs=1e-4)
