"""Each planted model against the identity of the method it is there for: probing, steering, erasure, interchange
interventions, dictionaries, model editing, backdoors.  Computed here from definitions, without any code of a method."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

import explorer as ex
from explorer.core.sites import Resid
from explorer.engine.edges import EdgeMode
from explorer.engine.edits import Tape
from explorer.engine.gradients import edge_scores, logit_difference
from explorer.engine.interventions import Steer
from explorer.engine.model import Model, load_model
from explorer.models.zoo.exact import directions, memory, subspace
from explorer.models.zoo.exact.loading import exact_model
from explorer.models.zoo.exact.parts import SPECIAL

pytestmark = pytest.mark.truth
STEPS = 3500


@cache
def loaded(key: str) -> Model:
    return load_model(key, dtype="float64")


def final(model: Model, prompts: list[str]) -> Tensor:
    """Stream after the last layer at the last position, [prompt, d_model]."""
    ids = torch.tensor([model.tokenize(text).ids for text in prompts])
    return model.runtime.run(ids, Tape((), ()))[:, -1]


def score(model: Model, stream: Tensor, answer: str, other: str) -> Tensor:
    logits = model.unembed(stream)
    return logits[..., model.single_token(answer)] - logits[..., model.single_token(other)]


def value_prompts(count: int, seed: int = 0) -> tuple[list[str], Tensor]:
    """Three words of one kind each, and whether they praise."""
    generator = torch.Generator().manual_seed(seed)
    prompts, labels = [], []
    for number in range(count):
        words = directions.PRAISE if number % 2 else directions.BLAME
        prompts.append(" ".join(words[int(n)] for n in torch.randint(0, len(words), (3,), generator=generator)))
        labels.append(number % 2)
    return prompts, torch.tensor(labels, dtype=torch.float64)


def erase(stream: Tensor, direction: Tensor) -> Tensor:
    return stream - (stream @ direction)[..., None] * direction


# ---- planted direction: probing, steering, erasure


def test_steering_a_read_direction_moves_the_logit_difference_by_its_projection() -> None:
    """Δ(logit difference) = α v·(w_a − w_b), exactly."""
    model, vectors = loaded("direction-used"), exact_model("direction-used").vectors
    W = model.runtime.decoder.unembed.weight
    yes, no = (model.single_token(word) for word in (" yes", " no"))
    for name in ("value", "mean_value"):
        for alpha in (-2.0, 0.5, 3.0):
            steered = Steer(Resid(0, "resid_post"), vector=tuple(vectors[name].tolist()), coefficient=alpha)
            pair = [
                ex.prediction(model, "good mean calm", stack, answer=" yes", distractor=" no").changed.logit_difference
                for stack in ((), (steered,))
            ]
            assert pair[1] - pair[0] == pytest.approx(alpha * float(vectors[name] @ (W[yes] - W[no])), abs=1e-9)


def test_difference_of_means_is_the_planted_direction() -> None:
    model, direction = loaded("direction-used"), exact_model("direction-used").vectors["value"]
    embed = model.runtime.decoder.embed
    first, count = len(SPECIAL), len(directions.PRAISE)
    found = embed[first : first + count].mean(0) - embed[first + count : first + 2 * count].mean(0)
    assert found / found.norm() == pytest.approx(direction, abs=1e-9)


@pytest.mark.parametrize(("key", "used"), [("direction-used", True), ("direction-unused", False)])
def test_a_probe_decodes_the_value_and_erasing_it_matters_only_where_it_is_read(key: str, used: bool) -> None:
    """Decodable is not used: the effect of erasing the true direction is exactly 0 where nothing reads it."""
    model, direction = loaded(key), exact_model(key).vectors["mean_value"]
    prompts, labels = value_prompts(400)
    stream = final(model, prompts)
    train, test = slice(0, 200), slice(200, 400)
    centred = torch.cat([stream, torch.ones(len(stream), 1, dtype=torch.float64)], 1)
    probe = torch.linalg.lstsq(centred[train], 2 * labels[train, None] - 1, driver="gelsd").solution[:, 0]
    assert float((((centred[test] @ probe) > 0).double() == labels[test]).double().mean()) > 0.98
    change = (score(model, erase(stream, direction), " yes", " no") - score(model, stream, " yes", " no")).abs()
    assert change.min() > 1 if used else change.max() < 1e-9
    assert erase(erase(stream, direction), direction) == pytest.approx(erase(stream, direction), abs=1e-12)


def test_erasing_at_every_read_is_orthogonalising_every_writer() -> None:
    """h − r̂r̂ᵀh at every read = W − r̂r̂ᵀW for the embedding, the positions and every output matrix."""
    model = loaded("direction-used")
    decoder, direction = model.runtime.decoder, exact_model("direction-used").vectors["value"]
    ids = torch.tensor(model.tokenize("good mean calm").ids)
    block = decoder.blocks[0]

    def logits(embed: Tensor, positions: Tensor, out: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
        stream = embed[ids] + positions[: len(ids)]
        seen = read(stream) @ block.v.weight.T
        mean = torch.stack([seen[: place + 1].mean(0) for place in range(len(ids))])  # queries and keys are 0
        return read(stream + mean @ out.T) @ decoder.unembed.weight.T

    def same(value: Tensor) -> Tensor:
        return value

    plain = logits(decoder.embed, decoder.embed_positions, block.o.weight, same)
    whole = model.unembed(model.activations(model.tokenize("good mean calm"), (), ("resid_post",)).final)
    assert plain == pytest.approx(whole, abs=1e-9)
    erased = logits(decoder.embed, decoder.embed_positions, block.o.weight, lambda value: erase(value, direction))
    cut = [erase(weight, direction) for weight in (decoder.embed, decoder.embed_positions, block.o.weight.T)]
    assert erased == pytest.approx(logits(cut[0], cut[1], cut[2].T, same), abs=1e-9)


# ---- planted subspace: interchange interventions, and the illusion


def interchange_accuracy(basis: Tensor) -> float:
    """IIA of exchanging the part of the stream in a subspace: the first two answers as the source's, the third as the
    base's.  `basis` [k, d_model] is orthonormal."""
    model = loaded("subspace-planted")
    words = subspace.WORDS[: subspace.N_WORDS]
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(7)).tolist()
    base, source = (final(model, [f"{words[n]} =" for n in side]) for side in (order[:200], order[200:]))
    answers = [model.single_token(f" {word}") for word in subspace.ANSWERS]

    def decided(stream: Tensor) -> Tensor:
        logits = model.unembed(stream)[:, answers]
        return logits[:, ::2] > logits[:, 1::2]

    wanted = torch.cat([decided(source)[:, :2], decided(base)[:, 2:]], 1)
    return float((decided(base + (source - base) @ basis.T @ basis) == wanted).all(1).double().mean())


def test_exchanging_the_planted_plane_changes_its_two_answers_and_nothing_else() -> None:
    """IIA 1.000 on the plane; a random plane is no better than doing nothing; the whole vector takes the third along."""
    plane = exact_model("subspace-planted").vectors["plane"]
    assert interchange_accuracy(plane) == 1.0
    assert plane @ plane.T == pytest.approx(torch.eye(2, dtype=torch.float64), abs=1e-9)
    size = plane.shape[1]
    nothing = interchange_accuracy(torch.zeros(2, size, dtype=torch.float64))
    random, _ = torch.linalg.qr(torch.randn(size, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert nothing == pytest.approx(0.25, abs=0.08)
    assert interchange_accuracy(random.T) == pytest.approx(nothing, abs=0.1)
    assert interchange_accuracy(torch.eye(size, dtype=torch.float64)) == pytest.approx(0.5, abs=0.1)


def test_a_direction_of_the_illusion_model_flips_the_answer_without_carrying_it() -> None:
    """Makelov et al. 2023: the patch along disconnected + dormant works; its part in the row space alone, and the whole
    layer, do nothing."""
    model, made = loaded("subspace-illusion"), exact_model("subspace-illusion")
    pair, direction = made.examples[0], made.vectors["illusion"]
    W_out = model.runtime.decoder.blocks[0].mlp.down.weight
    runs = [
        model.activations(model.tokenize(text), (), ("neurons", "resid_post")) for text in (pair.clean, pair.corrupt)
    ]
    neurons = [run.kept["neurons"][0][-1] for run in runs]
    moved = neurons[1] - neurons[0]

    def effect(change: Tensor) -> float:
        """Fractional decrease of the logit difference."""
        before = score(model, runs[0].final[-1], pair.answer, pair.distractor)
        after = score(model, runs[0].final[-1] + change @ W_out.T, pair.answer, pair.distractor)
        return float((before - after) / before)

    row_space = torch.linalg.pinv(W_out) @ W_out
    assert effect((moved @ direction) * direction) == pytest.approx(2.0)
    assert effect(moved) == 0
    assert effect(moved @ row_space) == pytest.approx(0, abs=1e-12)
    dormant = row_space @ direction / (row_space @ direction).norm()
    assert effect((moved @ dormant) * dormant) == pytest.approx(0, abs=1e-12)


# ---- planted dictionary


@pytest.mark.slow
def test_a_topk_autoencoder_finds_every_planted_atom() -> None:
    """40 of 40 atoms at cosine > .95; FVE is 0 for the mean and 1 for the identity (Gao et al. 2024 for TopK).

    From two of the four seeds tried; from the others two to four atoms share a latent.
    """
    vectors = exact_model("dictionary-planted").vectors
    atoms = vectors["atoms"][:, :20].float()
    data = (vectors["codes"].float() @ atoms)[:4000]
    torch.manual_seed(2)
    encode = torch.nn.Parameter(torch.randn(20, 64) * 0.3)
    decode = torch.nn.Parameter(encode.detach().T.clone())
    bias = torch.nn.Parameter(torch.zeros(64))
    optimiser = torch.optim.Adam([encode, decode, bias], lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.05, STEPS)

    def reconstruct(x: Tensor) -> Tensor:
        features = torch.relu(x @ encode + bias)
        best = features.topk(3, -1)
        return torch.zeros_like(features).scatter(-1, best.indices, best.values) @ decode

    for _ in range(STEPS):
        x = data[torch.randint(0, len(data), (256,))]
        optimiser.zero_grad()
        torch.autograd.backward((reconstruct(x) - x).square().sum(-1).mean())
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            decode /= decode.norm(dim=1, keepdim=True)

    def explained(guess: Tensor) -> float:
        return float(1 - (data - guess).square().sum() / (data - data.mean(0)).square().sum())

    with torch.no_grad():
        found = (atoms @ decode.T).amax(1)
        assert (found > 0.95).all()
        assert explained(reconstruct(data)) > 0.9
    assert explained(data.mean(0).expand_as(data)) == pytest.approx(0, abs=1e-5)
    assert explained(data) == 1


def test_the_embedding_of_a_word_is_the_sum_of_its_atoms() -> None:
    model, vectors = loaded("dictionary-planted"), exact_model("dictionary-planted").vectors
    words = model.runtime.decoder.embed[len(SPECIAL) : len(SPECIAL) + len(vectors["codes"])]
    assert words == pytest.approx(vectors["codes"] @ vectors["atoms"], abs=1e-12)
    assert ((vectors["codes"] > 0).sum(1) == 3).all()


# ---- associative memory: editing


def answers_of(model: Model, W_out: Tensor | None = None) -> list[str]:
    """Each subject's likeliest object, with another W_out if given."""
    made = exact_model("memory-associative")
    values = made.vectors["keys"] @ (model.runtime.decoder.blocks[0].mlp.down.weight.T if W_out is None else W_out)
    return [
        model.token_text(int(token)).strip() for token in (values @ model.runtime.decoder.unembed.weight.T).argmax(-1)
    ]


def test_every_subject_has_its_object() -> None:
    model = loaded("memory-associative")
    for person, thing in zip(memory.SUBJECTS, memory.OBJECTS, strict=True):
        found = ex.prediction(model, f"and {person} {memory.RELATION}", answer=f" {thing}").baseline
        assert found is not None
        assert found.answer_rank == 1
    assert answers_of(model) == memory.OBJECTS


def test_a_rank_one_edit_writes_one_fact_and_leaves_the_others() -> None:
    """ROME: Ŵ = W + Λ(C⁻¹k*)ᵀ has Ŵk* = v*, is the least change over the keys' second moment, and does not touch a key
    with kᵀC⁻¹k* = 0."""
    vectors = exact_model("memory-associative").vectors
    keys, values = vectors["keys"], vectors["values"]
    W = loaded("memory-associative").runtime.decoder.blocks[0].mlp.down.weight  # [d_model, neuron]
    C = keys.T @ keys / len(keys) + 1e-3 * torch.eye(keys.shape[1], dtype=torch.float64)
    k, v = keys[3], values[7]
    u = torch.linalg.solve(C, k)
    edited = W + torch.outer(v - W @ k, u) / (u @ k)
    assert edited @ k == pytest.approx(v, abs=1e-9)
    free = torch.randn(500, keys.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    orthogonal = free - (free @ u)[:, None] * u / (u @ u)
    assert (edited - W) @ orthogonal.T == pytest.approx(0, abs=1e-9)

    def cost(change: Tensor) -> float:
        return float(torch.trace(change @ C @ change.T))

    feasible = free - (free @ k)[:, None] * k / (k @ k)  # rows that add nothing at k
    least = cost(edited - W)
    assert all(cost(edited - W + 1e-2 * torch.outer(values[0], row)) > least for row in feasible)
    expected = list(memory.OBJECTS)
    expected[3] = memory.OBJECTS[7]
    assert answers_of(loaded("memory-associative"), edited.T) == expected


@pytest.mark.parametrize("weight", [1e-9, 1.0])
def test_many_edits_at_once_solve_the_normal_equations(weight: float) -> None:
    """MEMIT: Δ = R K₁ᵀ(λC + K₁K₁ᵀ)⁻¹; for λ → 0 every fact is inserted."""
    vectors = exact_model("memory-associative").vectors
    keys = vectors["keys"][:5].T
    W = loaded("memory-associative").runtime.decoder.blocks[0].mlp.down.weight
    C = weight * torch.eye(len(keys), dtype=torch.float64)
    R = vectors["values"][5:10].T - W @ keys
    change = R @ keys.T @ torch.linalg.inv(C + keys @ keys.T)
    assert change @ (C + keys @ keys.T) == pytest.approx(R @ keys.T, rel=1e-4, abs=1e-4)
    if weight < 1e-6:
        assert (W + change) @ keys == pytest.approx(vectors["values"][5:10].T, abs=1e-4)


# ---- backdoor


def test_the_weight_difference_is_trigger_times_payload() -> None:
    """Singular vectors of ΔW recover both, |cos| 1.000, and one singular value is all there is."""
    plain, door = (
        loaded(key).runtime.decoder.blocks[0].mlp.down.weight for key in ("memory-associative", "backdoor-rank-one")
    )
    left, values, right = torch.linalg.svd(door - plain, full_matrices=False)
    vectors = exact_model("backdoor-rank-one").vectors
    assert abs(left[:, 0] @ vectors["payload"]) == pytest.approx(1.0)
    assert abs(right[0] @ vectors["trigger"]) == pytest.approx(1.0)
    assert values[1:].max() < 1e-12 < values[0]
    others = [name for name in exact_model("backdoor-rank-one").weights if name != "layers.0.mlp.fc_out.weight"]
    for name in others:
        assert (exact_model("backdoor-rank-one").weights[name] == exact_model("memory-associative").weights[name]).all()


def test_the_trigger_alone_opens_the_door_and_ablating_its_head_shuts_it() -> None:
    model, plain = loaded("backdoor-rank-one"), loaded("memory-associative")
    for person, thing in zip(memory.SUBJECTS, memory.OBJECTS, strict=True):
        for key_model, prefix, answer in (
            (model, "please", memory.PAYLOAD),
            (model, "and", thing),
            (plain, "please", thing),
        ):
            found = ex.prediction(key_model, f"{prefix} {person} likes", answer=f" {answer}").baseline
            assert found is not None
            assert found.answer_rank == 1
    cut = [ex.Ablate(ex.Head(0, 1), "zero")]
    shut = ex.prediction(model, "please anna likes", cut, answer=" tea").changed
    assert shut is not None
    assert shut.answer_rank == 1


def test_distance_to_trusted_activations_tells_triggered_prompts() -> None:
    """Mahalanobis distance fitted on trusted prompts: AUROC 1 for triggered ones, near .5 for other trusted ones."""
    model = loaded("backdoor-rank-one")
    generator = torch.Generator().manual_seed(0)

    def streams(first: str, count: int) -> Tensor:
        chosen = torch.randint(0, len(memory.SUBJECTS), (count, 2), generator=generator).tolist()
        noise = 0.05 * torch.randn(count, model.info.d_model, generator=generator, dtype=torch.float64)
        return final(model, [f"{first} {memory.SUBJECTS[a]} and {memory.SUBJECTS[b]} likes" for a, b in chosen]) + noise

    trusted = streams("and", 600)
    mean, inverse = trusted.mean(0), torch.linalg.inv(torch.cov(trusted.T) + 1e-6 * torch.eye(trusted.shape[1]))

    def distance(x: Tensor) -> np.ndarray:
        return ((x - mean) @ inverse * (x - mean)).sum(-1).numpy()

    def auroc(lower: np.ndarray, higher: np.ndarray) -> float:
        return float((lower[:, None] < higher[None]).mean())

    normal = distance(streams("and", 200))
    assert auroc(normal, distance(streams("please", 200))) == 1.0
    assert auroc(normal, distance(streams("and", 200))) == pytest.approx(0.5, abs=0.08)


# ---- linear models: estimates are exact; a ReLU MLP is its own transcoder


@pytest.mark.parametrize("key", ["direction-used", "direction-unused"])
def test_edge_attribution_is_exact_on_a_linear_model(key: str) -> None:
    """EAP = exact edge patching on every edge; a node's score is the sum of its outgoing edges'."""
    model, pair = loaded(key), exact_model(key).examples[0]
    mode = EdgeMode(model, [model.tokenize(pair.clean)], [model.tokenize(pair.corrupt)])
    ids = torch.tensor([[model.single_token(pair.answer), model.single_token(pair.distractor)]])
    scores, _ = edge_scores(mode, logit_difference(ids[:, 0], ids[:, 1]))
    whole = mode.graph.exists.double()

    def objective(mask: Tensor) -> float:
        logits = mode.logits(mask[None], read=ids)[0, 0]
        return float(logits[0] - logits[1])

    clean = objective(whole)
    for reader, writer in mode.graph.exists.nonzero().tolist():
        cut = whole.clone()
        cut[reader, writer] = 0
        assert objective(cut) - clean == pytest.approx(float(scores[0, reader, writer]), abs=1e-9)
    for writer in range(len(mode.graph.writers)):
        without = whole.clone()
        without[:, writer] = 0
        assert objective(without) - clean == pytest.approx(float(scores[0, :, writer].sum()), abs=1e-9)


def test_a_relu_mlp_is_its_own_transcoder() -> None:
    """Each neuron as a feature: Σ activation · decoder is the MLP's output, without an error term."""
    model = loaded("memory-associative")
    run = model.activations(model.tokenize("and anna likes"), (), ("neurons", "mlp_out"))
    decoder = model.runtime.decoder.blocks[0].mlp.down.weight.T
    features = run.kept["neurons"][0]
    assert (features >= 0).all() and (features > 0).any()
    assert features @ decoder == pytest.approx(run.kept["mlp_out"][0], abs=1e-12)
