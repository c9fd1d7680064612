"""A planted two-dimensional subspace, for interchange interventions and DAS (Geiger et al. 2024), and a model on which
patching a subspace deceives (Makelov et al. 2023).
"""

import torch
from torch import Tensor

from explorer.core.pairs import ContrastPair
from explorer.core.sites import Edge, Embed, Head, HeadPart, KeyValue, Logits, MlpIn, MlpOut
from explorer.models.native import NativeShape
from explorer.models.zoo.exact.parts import (
    SPECIAL,
    ExactModel,
    Parts,
    TrueCircuit,
    edges,
    eye,
    normal,
    random_rotation,
    seeded,
    spaces,
)

N_WORDS, DIM, N_CTX = 400, 16, 8
LOGIT = 3.0
ANSWERS = ("east", "west", "north", "south", "up", "down")
WORDS = (*(f"w{number:03d}" for number in range(N_WORDS)), "=", *ANSWERS)
ILLUSION_WORDS = ("plus", "minus", "=", "yes", "no")


def fetch(parts: Parts, stream: dict[str, slice], width: int) -> None:
    """L0H0 copies the content of the word before."""
    parts.positions[:, stream["position"]] = eye(parts.shape.n_ctx)
    parts.attend_position(0, 0, stream["position"], offset=1)
    parts.v[0, 0, stream["content"], :width] = eye(width)
    parts.o[0, 0, :width, stream["moved"]] = eye(width)


def moving(receivers: tuple[Edge, ...] = ()) -> tuple[Edge, ...]:
    """The edges of `fetch`."""
    return (
        *edges(
            (Embed(), HeadPart(0, 0, "q")), (Embed(), KeyValue(0, 0, "k")), (Embed(), KeyValue(0, 0, "v")),
            (Head(0, 0), Logits()),
        ),
        *receivers,
    )  # fmt: skip


def planted() -> ExactModel:
    """Three numbers of each word decide three answers; the first two are the planted subspace."""
    generator = seeded(2)
    stream = spaces(content=DIM, position=N_CTX, moved=DIM)
    size = len(SPECIAL) + len(WORDS)
    shape = NativeShape(n_layers=1, n_heads=1, d_head=DIM, d_model=stream["moved"].stop, n_ctx=N_CTX, d_vocab=size)
    parts = Parts(shape)
    values = normal(generator, N_WORDS, DIM)
    values[:, :3] = values[:, :3].sign() * (1 + torch.rand(N_WORDS, 3, generator=generator, dtype=torch.float64))
    turn = random_rotation(DIM, seed=3)
    parts.embed[len(SPECIAL) : len(SPECIAL) + N_WORDS, stream["content"]] = values @ turn.T
    fetch(parts, stream, DIM)
    for number, word in enumerate(ANSWERS):
        sign = 1 if number % 2 == 0 else -1
        parts.unembed[stream["moved"], len(SPECIAL) + WORDS.index(word)] = sign * LOGIT * turn[:, number // 2]
    axes = torch.zeros(3, shape.d_model, dtype=torch.float64)
    axes[:, stream["moved"]] = turn[:, :3].T
    circuit = TrueCircuit(
        nodes=(Embed(), Head(0, 0)),
        edges=moving(),
        text="L0H0 moves the word before `=` to `=`. Its first number decides east or west, its second north or south "
        "(together `plane`), its third up or down; thirteen more numbers decide nothing.",
    )
    east, south = words_with(values, (1, 1)), words_with(values, (-1, -1))
    examples = (ContrastPair(f"{east} =", f"{south} =", " east", " west"),)
    return ExactModel(shape, parts.state(), WORDS, circuit, examples, {"plane": axes[:2], "third": axes[2:]})


def words_with(values: Tensor, signs: tuple[int, int]) -> str:
    """A word whose first two numbers have these signs, the first one the largest of the three that count."""
    fits = (values[:, 0] * signs[0] > values[:, 1:3].abs().amax(1)) & (values[:, 1] * signs[1] > 0)
    return WORDS[int(fits.nonzero()[0])]


def illusion() -> ExactModel:
    """The value goes past the MLP.  One neuron follows it and writes nothing, another writes but never changes."""
    stream = spaces(content=1, position=N_CTX, moved=1, constant=1)
    size = len(SPECIAL) + len(ILLUSION_WORDS)
    shape = NativeShape(
        n_layers=1, n_heads=1, d_head=N_CTX, d_model=stream["constant"].stop, n_ctx=N_CTX, d_vocab=size, d_mlp=2,
    )  # fmt: skip
    parts = Parts(shape)
    plus, minus, _, yes, no = range(len(SPECIAL), size)
    parts.embed[plus, stream["content"]], parts.embed[minus, stream["content"]] = 1, -1
    parts.positions[:, stream["constant"]] = 1
    fetch(parts, stream, 1)
    parts.mlp_in[0, stream["moved"], 0] = 1
    parts.mlp_in[0, stream["constant"], 1] = 1
    parts.mlp_bias[0, 0] = 4  # never below zero
    parts.mlp_out[0, 1, stream["moved"]] = 2
    parts.embed[len(SPECIAL) + 2, stream["moved"]] = -2  # what the constant neuron writes, taken off again
    parts.unembed[stream["moved"], yes], parts.unembed[stream["moved"], no] = LOGIT, -LOGIT
    circuit = TrueCircuit(
        nodes=(Embed(), Head(0, 0), MlpOut(0)),
        edges=moving(edges((Embed(), MlpIn(0)), (MlpOut(0), Logits()), (Embed(), Logits()))),
        text="L0H0 moves ±1 to `=`, where the logits read it. The MLP only adds a constant: L0N0 follows the value and writes "
        "nothing (disconnected), L0N1 writes to the answer and is always 1 (dormant). Patching the two along "
        "`illusion` flips the answer, though patching either alone, or both whole, does nothing.",
    )
    direction = torch.tensor([1.0, 1.0], dtype=torch.float64) / 2**0.5
    examples = (ContrastPair("plus =", "minus =", " yes", " no"),)
    return ExactModel(shape, parts.state(), ILLUSION_WORDS, circuit, examples, {"illusion": direction})
