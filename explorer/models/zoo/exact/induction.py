"""Induction by hand: L0H1 looks at the token before, L1H2 finds where the present token stood before and copies what
came next (Elhage et al. 2021; Olsson et al. 2022).  Six more heads attend and write, where nobody reads.

The stream is token | position | the token before | answer | junk.
"""

import torch

from explorer.core.pairs import ContrastPair
from explorer.core.sites import Embed, Head, HeadPart, KeyValue, Logits
from explorer.models.native import NativeShape
from explorer.models.zoo.exact.parts import (
    BOS,
    SPECIAL,
    ExactModel,
    Parts,
    TrueCircuit,
    edges,
    eye,
    match_strength,
    normal,
    seeded,
    spaces,
)

WORDS = tuple("abcdefghijklmnopqrstuvwxyz")
N_CTX, D_HEAD, N_HEADS, JUNK = 64, 64, 4, 16
LOGIT = 20.0
"""Logit of the answer; all others are 0."""
PREVIOUS, INDUCTION = Head(0, 1), Head(1, 2)

CIRCUIT = TrueCircuit(
    nodes=(Embed(), PREVIOUS, INDUCTION),
    edges=edges(
        (Embed(), HeadPart(0, 1, "q")),
        (Embed(), KeyValue(0, 1, "k")),
        (Embed(), KeyValue(0, 1, "v")),
        (PREVIOUS, KeyValue(1, 2, "k")),
        (Embed(), HeadPart(1, 2, "q")),
        (Embed(), KeyValue(1, 2, "v")),
        (Embed(), KeyValue(1, 2, "k")),
        (INDUCTION, Logits()),
    ),
    text="L0H1 attends to the position before and writes which token stands there. L1H2 asks for positions whose previous "
    "token is the present one (K-composition), attends there and copies their token to the logits. With nothing to "
    "find it rests on BOS (the edge from the embedding to its key).",
)


def plain() -> ExactModel:
    return finish(build())


def rotated() -> ExactModel:
    return finish(build().rotated(seed=0))


def finish(parts: Parts) -> ExactModel:
    examples = (
        ContrastPair("q f m x b z q f m", "q f b m z x q f m", " x", " z"),
        ContrastPair("d o g c a t d o", "c d o t a g d o", " g", " t"),
    )
    return ExactModel(parts.shape, parts.state(), WORDS, CIRCUIT, examples)


def build() -> Parts:
    size = len(SPECIAL) + len(WORDS)
    stream = spaces(token=size, position=N_CTX, before=size, answer=size, junk=JUNK)
    width = stream["junk"].stop
    shape = NativeShape(n_layers=2, n_heads=N_HEADS, d_head=D_HEAD, d_model=width, n_ctx=N_CTX, d_vocab=size)
    parts = Parts(shape)
    token, before, answer = (stream[name] for name in ("token", "before", "answer"))
    parts.embed[:, token] = eye(size)
    parts.positions[:, stream["position"]] = eye(N_CTX)
    parts.attend_position(0, 1, stream["position"], offset=1)
    parts.v[0, 1, token, :size] = eye(size)
    parts.o[0, 1, :size, before] = eye(size)
    strength = match_strength(parts.shape)
    parts.q[1, 2, token, :size] = parts.k[1, 2, before, :size] = strength * eye(size)
    parts.k[1, 2, token.start + BOS, size] = strength
    parts.q_bias[1, 2, size] = strength / 2  # half the score of a match: BOS is where to rest
    copied = eye(size)
    copied[BOS, BOS] = 0
    parts.v[1, 2, token, :size] = copied
    parts.o[1, 2, :size, answer] = eye(size)
    parts.unembed[answer] = LOGIT * eye(size)
    add_distractors(parts, stream["junk"])
    return parts


def add_distractors(parts: Parts, junk: slice) -> None:
    """Heads that read what is there and attend by it, and write into junk alone: their effect is exactly 0."""
    generator = seeded(0)
    for layer in range(2):
        for head in range(N_HEADS):
            if Head(layer, head) not in (PREVIOUS, INDUCTION):
                read = (junk.start, D_HEAD)
                parts.q[layer, head, : junk.start] = normal(generator, *read, scale=2.0)
                parts.k[layer, head, : junk.start] = normal(generator, *read, scale=2.0)
                parts.v[layer, head, : junk.start] = normal(generator, *read, scale=0.3)
                parts.o[layer, head, :, junk] = normal(generator, D_HEAD, JUNK, scale=0.3)


def distinct_repeats(rows: int, period: int, seed: int) -> torch.Tensor:
    """[rows, 1 + 2 * period]: BOS, distinct words, and the same again."""
    generator = seeded(seed)
    half = torch.stack([torch.randperm(len(WORDS), generator=generator)[:period] for _ in range(rows)]) + len(SPECIAL)
    return torch.cat([torch.full((rows, 1), BOS), half, half], 1)
