"""A planted dictionary: every word is a sparse sum of known atoms, more atoms than dimensions (Elhage et al. 2022)."""

import torch

from explorer.core.pairs import ContrastPair
from explorer.core.sites import Embed, Head, HeadPart, KeyValue, Logits
from explorer.models.native import NativeShape
from explorer.models.zoo.exact.parts import (
    SPECIAL,
    ExactModel,
    Parts,
    TrueCircuit,
    edges,
    eye,
    normal,
    seeded,
    spaces,
)

N_ATOMS, DIM, ACTIVE, N_WORDS, N_CTX = 40, 20, 3, 4000, 16
LOGIT = 8.0
NAMES = tuple(f"atom{number:02d}" for number in range(N_ATOMS))
WORDS = (*(f"w{number:04d}" for number in range(N_WORDS)), *NAMES)


def planted() -> ExactModel:
    generator = seeded(4)
    atoms = normal(generator, N_ATOMS, DIM)
    atoms /= atoms.norm(dim=1, keepdim=True)
    codes = torch.zeros(N_WORDS, N_ATOMS, dtype=torch.float64)
    for row in codes:
        chosen = torch.randperm(N_ATOMS, generator=generator)[:ACTIVE]
        row[chosen] = 0.5 + torch.rand(ACTIVE, generator=generator, dtype=torch.float64)
    stream = spaces(content=DIM, position=N_CTX, moved=DIM)
    size = len(SPECIAL) + len(WORDS)
    shape = NativeShape(n_layers=1, n_heads=1, d_head=DIM, d_model=stream["moved"].stop, n_ctx=N_CTX, d_vocab=size)
    parts = Parts(shape)
    parts.embed[len(SPECIAL) : len(SPECIAL) + N_WORDS, stream["content"]] = codes @ atoms
    parts.positions[:, stream["position"]] = eye(N_CTX)
    parts.attend_position(0, 0, stream["position"], offset=0)
    parts.v[0, 0, stream["content"]] = eye(DIM)
    parts.o[0, 0, :, stream["moved"]] = eye(DIM)
    parts.unembed[stream["moved"], len(SPECIAL) + N_WORDS :] = LOGIT * atoms.T
    placed = torch.zeros(N_ATOMS, shape.d_model, dtype=torch.float64)
    placed[:, stream["content"]] = atoms
    circuit = TrueCircuit(
        nodes=(Embed(), Head(0, 0)),
        edges=edges(
            (Embed(), HeadPart(0, 0, "q")), (Embed(), KeyValue(0, 0, "k")), (Embed(), KeyValue(0, 0, "v")),
            (Head(0, 0), Logits()),
        ),
        text=f"Each word is a sum of {ACTIVE} of {N_ATOMS} atoms in {DIM} dimensions. L0H0 copies the present word, and the "
        "logits of the atoms' names are its products with the atoms.",
    )  # fmt: skip
    best = [int((codes[word] @ atoms @ atoms.T).argmax()) for word in range(N_WORDS)]
    one, other = 0, next(word for word in range(N_WORDS) if best[word] != best[0])
    example = ContrastPair(WORDS[one], WORDS[other], f" {NAMES[best[one]]}", f" {NAMES[best[other]]}")
    return ExactModel(shape, parts.state(), WORDS, circuit, (example,), {"atoms": placed, "codes": codes})
