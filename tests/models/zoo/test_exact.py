"""The exact models do what they say, and each method's identity holds on the model that was made for it.

The identities are those of the literature's definitions; each test names its method.
"""

from functools import cache

import pytest
import torch

import explorer as ex
from explorer.analyses.activation_patching import activation_patching
from explorer.analyses.attention import attention
from explorer.core.errors import PromptError
from explorer.core.sites import Head
from explorer.engine.edge_graph import EdgeGraph
from explorer.engine.edges import EdgeMode
from explorer.engine.gradients import edge_scores, logit_difference
from explorer.engine.interventions import Ablate
from explorer.engine.model import Model, load_model
from explorer.models.catalog import CATALOG, ExactRow
from explorer.models.zoo.exact import gates, induction, planted_edges
from explorer.models.zoo.exact.loading import exact_model
from explorer.models.zoo.exact.table import BUILDERS

pytestmark = pytest.mark.truth


@cache
def loaded(key: str) -> Model:
    return load_model(key, dtype="float64")


@pytest.fixture(params=BUILDERS)
def key(request: pytest.FixtureRequest) -> str:
    return request.param


def ids_of(model: Model, *words: str) -> list[int]:
    return [model.single_token(f" {word.strip()}") for word in words]


def mode_of(key: str, number: int = 0) -> tuple[EdgeMode, torch.Tensor]:
    """Edge mode on an example, and the ids of its answer and distractor."""
    model, pair = loaded(key), exact_model(key).examples[number]
    mode = EdgeMode(model, [model.tokenize(pair.clean)], [model.tokenize(pair.corrupt)])
    return mode, torch.tensor([ids_of(model, pair.answer, pair.distractor)])


def difference(mode: EdgeMode, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """logit(answer) − logit(distractor) under each mask."""
    logits = mode.logits(mask, read=ids)[:, 0]
    return (logits[:, 0] - logits[:, 1]).detach()


def planted_mask(key: str, graph: EdgeGraph) -> torch.Tensor:
    mask = torch.zeros(graph.exists.shape, dtype=torch.float64)
    for edge in exact_model(key).circuit.edges:
        mask[graph.place(edge)] = 1
    return mask


def test_the_catalog_lists_every_exact_model() -> None:
    assert {key for key, row in CATALOG.items() if isinstance(row, ExactRow)} == set(BUILDERS)


def test_runs_on_the_engine_as_on_the_bridge_and_answers_its_examples(key: str) -> None:
    model, made = loaded(key), exact_model(key)
    assert model.backend == "engine"
    assert model.check.max_difference < 1e-9
    assert model.info.n_parameters == CATALOG[key].n_parameters
    for pair in made.examples:
        for prompt, answer, other in (
            (pair.clean, pair.answer, pair.distractor),
            (pair.corrupt, pair.distractor, pair.answer),
        ):
            found = ex.prediction(model, prompt, answer=answer, distractor=other).baseline
            assert found is not None
            assert found.logit_difference > 0
            assert found.answer_rank == 1 or prompt == pair.corrupt


def test_the_true_circuit_alone_does_all_the_model_does(key: str) -> None:
    """Faithfulness of the stated circuit is 1, both ways: its complement corrupted, and it alone corrupted."""
    mode, ids = mode_of(key)
    keeps = planted_mask(key, mode.graph)
    ones = mode.graph.exists.double()
    full, circuit, rest, none = difference(mode, ids, torch.stack([ones, keeps, ones - keeps, torch.zeros_like(ones)]))
    assert abs(full - none) > 1
    assert abs(circuit - full) < 1e-6
    assert abs(rest - none) < 1e-6


def test_every_edge_of_a_true_circuit_exists(key: str) -> None:
    made = exact_model(key)
    graph = EdgeGraph(loaded(key).info, has_mlp=bool(made.shape.d_mlp))
    for edge in made.circuit.edges:
        graph.place(edge)
    assert {edge.sender for edge in made.circuit.edges} == set(made.circuit.nodes)


def test_unknown_words_are_named(key: str) -> None:
    with pytest.raises(PromptError, match="does not know 'Hello', 'world'"):
        loaded(key).tokenize("Hello world")


def test_every_view_takes_every_exact_model(key: str) -> None:
    model, pair = loaded(key), exact_model(key).examples[0]
    assert attention(model, pair.clean).frame.notna().all().all()
    assert ex.logit_lens(model, pair.clean, answer=pair.answer).frame is not None
    assert len(list(ex.generate(model, pair.clean, n_tokens=3))) <= 3


# ---- induction


@pytest.mark.parametrize("key", ["induction-handmade", "induction-handmade-rotated"])
def test_induction_is_perfect_on_distinct_tokens(key: str) -> None:
    model, tokens = loaded(key), induction.distinct_repeats(64, 24, seed=1)
    logits = model.unembed(model.runtime.run(tokens, ex_tape()))
    right = logits[:, 25:-1].argmax(-1) == tokens[:, 26:]
    assert right.float().mean() == 1.0
    assert logits[:, :24].softmax(-1).amax(-1).max() < 0.05  # nothing to repeat yet: all words alike


def ex_tape():
    from explorer.engine.edits import Tape

    return Tape((), ())


@pytest.mark.parametrize("key", ["induction-handmade", "induction-handmade-rotated"])
def test_induction_heads_are_typed_perfectly_and_depend_on_the_previous_token_head(key: str) -> None:
    scores = attention(loaded(key), "a b c a b").scores
    previous, found = scores["previous token"], scores["induction"]
    assert previous[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert found[1, 2] == pytest.approx(1.0, abs=1e-6)
    others = [found[layer, head] for layer in range(2) for head in range(4) if (layer, head) != (1, 2)]
    assert max(others) < 0.2
    cut = attention(loaded(key), "a b c a b", [Ablate(Head(0, 1), "zero")]).scores["induction"]
    assert cut[1, 2] < 0.2


@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("site", ["head_out", "q", "k", "v"])
def test_only_two_heads_of_the_induction_model_have_any_effect(site: str, direction: str) -> None:
    """Activation patching: the resample effect of six heads is exactly 0."""
    model = loaded("induction-handmade")
    result = activation_patching(model, exact_model("induction-handmade").examples[0], site, direction=direction)
    effect = torch.tensor(result.raw)
    chosen = torch.zeros(2, 4, dtype=torch.bool)
    chosen[0, 1] = chosen[1, 2] = True
    assert (effect[~chosen] == 0).all()
    if site == "head_out":
        assert (effect[chosen].abs() > 1).all() if direction == "noising" else (effect[chosen] != 0).all()


def test_known_edges_come_first_in_edge_attribution() -> None:
    mode, ids = mode_of("induction-handmade")
    scores, _ = edge_scores(mode, logit_difference(ids[:, 0], ids[:, 1]))
    truth = planted_mask("induction-handmade", mode.graph).bool()
    assert (scores[0][~truth] == 0).all()
    assert (scores[0][truth] != 0).any()


def test_rotation_changes_the_basis_and_not_the_function() -> None:
    plain, turned = (exact_model(name).weights for name in ("induction-handmade", "induction-handmade-rotated"))
    assert (plain["tok_embed.weight"] - turned["tok_embed.weight"]).abs().max() > 0.1
    text = "q f m x b q f m"
    outputs = [model.unembed(model.activations(model.tokenize(text), (), ("resid_post",)).final)
               for model in map(loaded, ("induction-handmade", "induction-handmade-rotated"))]  # fmt: skip
    assert (outputs[0] - outputs[1]).abs().max() < 1e-9


def test_identical_models_do_not_differ_and_one_changed_head_is_found_first() -> None:
    """Model comparison: identical copies differ by exactly 0; a perturbed head is the first in a ranking by its write."""
    model, text = loaded("induction-handmade"), "q f m x b q f m"
    again = load_model("induction-handmade", dtype="float64")
    runs = [each.activations(each.tokenize(text), (), ("z",)).stack("z") for each in (model, again)]
    assert (runs[0] - runs[1] == 0).all()
    with torch.no_grad():
        again.runtime.decoder.blocks[0].v.weight[:64] *= 1.1  # L0H0
    changed = again.runtime.run(again.batch(again.tokenize(text).ids), tape := kept_z())
    assert changed is not None
    moved = (tape.kept["z"][0][0] - runs[0][0]).norm(dim=-1).sum(0)
    assert moved.argmax() == 0
    assert (moved[1:] == 0).all()


def kept_z():
    from explorer.engine.edits import Tape

    return Tape((), ("z",))


# ---- planted edges


def test_planted_edges_alone_have_effects_and_edge_attribution_ranks_them_perfectly() -> None:
    """EAP and EAP-IG: AUROC 1.000 over prompts; an edge that was not planted has an effect of exactly 0."""
    key = "planted-edges"
    model = loaded(key)
    generator = torch.Generator().manual_seed(0)
    words = exact_model(key).words
    texts = [" ".join(words[n] for n in torch.randint(0, 11, (6,), generator=generator)) for _ in range(24)]
    clean, corrupt = ([model.tokenize(text) for text in side] for side in (texts[:12], texts[12:]))
    mode = EdgeMode(model, clean, corrupt)
    truth = planted_mask(key, mode.graph).bool()
    score = logit_difference(torch.full((12,), 5), torch.full((12,), 9))
    for steps in (1, 8):
        found = edge_scores(mode, score, steps)[0].abs().sum(0)
        assert found[truth].min() > found[mode.graph.exists & ~truth].max()
        assert (found[mode.graph.exists & ~truth] == 0).all()


def test_cutting_edges_one_by_one_leaves_planted_edges_only() -> None:
    """ACDC's rule with a threshold of 1e-6: precision 1.0."""
    mode, ids = mode_of("planted-edges")
    graph = mode.graph
    truth = planted_mask("planted-edges", graph).bool()
    mask = graph.exists.double()
    current = difference(mode, ids, mask[None])[0]
    for reader in reversed(range(len(graph.readers))):
        for writer in reversed(range(len(graph.writers))):
            if graph.exists[reader, writer]:
                mask[reader, writer] = 0
                found = difference(mode, ids, mask[None])[0]
                if abs(found - current) < 1e-6:
                    current = found
                else:
                    mask[reader, writer] = 1
    kept = mask.bool()
    assert kept.any()
    assert not (kept & ~truth).any()


@pytest.mark.parametrize("seed", range(4))
def test_planted_edges_lie_on_paths_from_embedding_to_logits(seed: int) -> None:
    found = planted_edges.build(seed).circuit.edges
    assert len(set(found)) == len(found)
    assert {planted_edges.owner(edge.receiver) for edge in found} - {None} == {edge.sender for edge in found} - {
        ex.Embed()
    }


# ---- gates


@pytest.mark.parametrize(("key", "noised", "denoised"), [("gate-and", 0.0, 0.0), ("gate-or", 1.0, 1.0)])
def test_gates_answer_the_two_directions_oppositely(key: str, noised: float, denoised: float) -> None:
    """AND: corrupting one bit undoes all, restoring one does nothing.  OR: the reverse.  (0 = corrupt, 1 = clean.)"""
    pair = exact_model(key).examples[0]
    for direction, expected in (("noising", noised), ("denoising", denoised)):
        values = activation_patching(loaded(key), pair, "head_out", direction=direction).values
        assert values == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("a", ["on", "off"])
@pytest.mark.parametrize("b", ["on", "off"])
def test_gates_have_their_truth_tables(a: str, b: str) -> None:
    bits = (a == "on", b == "on")
    for key, value in (("gate-and", all(bits)), ("gate-or", any(bits))):
        found = ex.prediction(loaded(key), f"{a} {b} =", answer=" yes", distractor=" no").baseline
        assert found is not None
        assert found.logit_difference == pytest.approx(gates.LOGIT if value else -gates.LOGIT)


def test_a_circuit_without_one_branch_of_or_is_faithful_and_not_complete() -> None:
    """Completeness: without L0H1 the answer stays; what is left of the model without the rest still answers too."""
    model, pair = loaded("gate-or"), exact_model("gate-or").examples[0]
    one = [Ablate(Head(0, 1), "resample", reference=(pair.corrupt,))]
    both = [*one, Ablate(Head(0, 0), "resample", reference=(pair.corrupt,))]
    found = [ex.prediction(model, pair.clean, stack, answer=" yes", distractor=" no").changed for stack in (one, both)]
    assert [round(each.logit_difference, 6) for each in found] == [gates.LOGIT, -gates.LOGIT]


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_a_model_of_attention_alone_has_no_mlps_to_change(how: str) -> None:
    model, pair = loaded("induction-handmade"), exact_model("induction-handmade").examples[0]
    for site in (ex.MlpOut(0), ex.Neuron(1, 0)):
        with pytest.raises(ex.ExplorerError, match="is attention alone"):
            ex.prediction(model, pair.clean, [Ablate(site, how, reference=(pair.clean, pair.corrupt)[-1:])])
