"""A planted direction: words carry a value along one direction of the stream; one model's readout uses it, the other's
does not.  There the value can be decoded from every activation, and erasing it changes nothing.

Both models are linear: the one head attends to all positions alike.
"""

import torch
from torch import Tensor

from explorer.core.pairs import ContrastPair
from explorer.core.sites import Embed, Head, KeyValue, Logits
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

PRAISE = ["good", "fine", "kind", "warm", "calm", "glad", "fair", "nice", "able", "neat", "keen", "wise"]
BLAME = ["bad", "poor", "mean", "cold", "rude", "sad", "vain", "harsh", "weak", "vile", "dull", "sour"]
ANSWERS = ("yes", "no")
WORDS = (*PRAISE, *BLAME, *ANSWERS)
CONTENT, N_CTX = 12, 16
NOISE = 0.5
"""Standard deviation of a word's other components."""
GAIN = 6.0
"""yes − no is twice this times the mean value of the words, BOS included as 0."""


def used() -> ExactModel:
    return build(read="value", answers=(" yes", " no"), text="The logits read the mean value of the words.")


def unused() -> ExactModel:
    text = "The logits read another direction, orthogonal to the value: it is carried, not used."
    return build(read="other", answers=(" no", " yes"), text=text)


def build(read: str, answers: tuple[str, str], text: str) -> ExactModel:
    generator = seeded(0)
    stream = spaces(content=CONTENT, mean=CONTENT)
    size = len(SPECIAL) + len(WORDS)
    shape = NativeShape(
        n_layers=1, n_heads=1, d_head=CONTENT, d_model=2 * CONTENT, n_ctx=N_CTX, d_vocab=size, normalization_type=None
    )
    parts = Parts(shape)
    first = len(SPECIAL)
    words = slice(first, first + len(PRAISE) + len(BLAME))
    content = parts.embed[:, stream["content"]]
    content[words] = balanced(normal(generator, len(PRAISE) + len(BLAME), CONTENT, scale=NOISE))
    content[words, 0] = torch.tensor([1.0] * len(PRAISE) + [-1.0] * len(BLAME), dtype=torch.float64)
    parts.v[0, 0, stream["content"]] = eye(CONTENT)
    parts.o[0, 0, :, stream["mean"]] = eye(CONTENT)
    yes, no = (first + WORDS.index(word) for word in ANSWERS)
    place = stream["mean"].start + (0 if read == "value" else 1)
    parts.unembed[place, yes], parts.unembed[place, no] = GAIN, -GAIN
    turn = parts.rotated(seed=1)
    directions = {
        "value": turn_of(shape, stream["content"].start),
        "mean_value": turn_of(shape, stream["mean"].start),
        "read": turn_of(shape, place),
    }
    circuit = TrueCircuit(
        nodes=(Embed(), Head(0, 0)),
        edges=edges((Embed(), KeyValue(0, 0, "v")), (Head(0, 0), Logits())),
        text=f"Each word has +1 or −1 along the direction `value`. L0H0 attends to all positions alike and writes the mean "
        f"of the words (`mean_value`). {text}",
    )
    examples = (ContrastPair("good kind warm", "bad mean cold", *answers),)
    return ExactModel(shape, turn.state(), WORDS, circuit, examples, directions)


def balanced(noise: Tensor) -> Tensor:
    """Other components whose mean over praise and over blame is 0, so that the difference of means is the value alone."""
    halves = [part - part.mean(0) for part in (noise[: len(PRAISE)], noise[len(PRAISE) :])]
    return torch.cat(halves)


def turn_of(shape: NativeShape, axis: int) -> Tensor:
    """Where an axis of the stream lies after the rotation."""
    basis = Parts(shape)
    basis.embed[0, axis] = 1
    return basis.rotated(seed=1).embed[0]
