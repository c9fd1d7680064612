"""Planted edges: every writer has a part of the stream to itself, and every reader reads the parts of a few writers.

What is not planted has an effect of exactly 0, so a discovery method's ranking of edges can be judged (AUROC).
"""

from random import Random

import torch
from torch import Tensor

from explorer.core.pairs import ContrastPair
from explorer.core.sites import Edge, Embed, Head, HeadPart, KeyValue, Logits, MlpIn, MlpOut, Receiver, Sender
from explorer.models.native import NativeShape, with_weights
from explorer.models.zoo.exact.parts import BOS, SPECIAL, ExactModel, Parts, TrueCircuit, normal, seeded

WORDS = tuple("abcdefghijk")
N_LAYERS, N_HEADS, D_HEAD, D_MLP, N_CTX = 2, 3, 4, 32, 12
ROOM = 6
"""Width of a writer's own part of the stream."""
DENSITY = 0.35
"""Probability that a reader reads a writer."""
READ, READ_LOGITS, WRITE = 2.0, 0.4, 1.5
"""Size of what readers read and writers write: neither attention nor answer is flat or saturated."""
PROMPTS = (("a b c d e f", "a g c i e j"), ("k a j b i c", "k e j f i g"))
SEED = 24


def plain() -> ExactModel:
    return build(SEED)


def writers_before(reader: Receiver) -> list[Sender]:
    """All writers that a reader could see."""
    layer = reader.layer if not isinstance(reader, Logits) else N_LAYERS
    found: list[Sender] = [Embed()]
    for below in range(layer):
        found += [*(Head(below, head) for head in range(N_HEADS)), MlpOut(below)]
    if isinstance(reader, MlpIn):
        found += [Head(layer, head) for head in range(N_HEADS)]
    return found


def all_readers() -> list[Receiver]:
    found: list[Receiver] = []
    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            found += [HeadPart(layer, head, "q"), KeyValue(layer, head, "k"), KeyValue(layer, head, "v")]
        found.append(MlpIn(layer))
    return [*found, Logits()]


def build(seed: int) -> ExactModel:
    """A model drawn from a seed, with the planted edges that lie on a path from the embedding to the logits."""
    rng, generator = Random(seed), seeded(seed)
    writers = [*writers_before(Logits())]
    room = {writer: slice(ROOM * place, ROOM * (place + 1)) for place, writer in enumerate(writers)}
    vocabulary = len(SPECIAL) + len(WORDS)
    shape = NativeShape(
        n_layers=N_LAYERS, n_heads=N_HEADS, d_head=D_HEAD, d_model=ROOM * len(writers), n_ctx=N_CTX, d_vocab=vocabulary,
        d_mlp=D_MLP, act_fn="gelu",
    )  # fmt: skip
    parts = Parts(shape)
    parts.embed[:, room[Embed()]] = normal(generator, vocabulary, ROOM)
    parts.positions[:, room[Embed()]] = normal(generator, N_CTX, ROOM, scale=0.5)
    planted = []
    for reader in all_readers():
        seen = writers_before(reader)
        chosen = [writer for writer in seen if rng.random() < DENSITY] or [rng.choice(seen)]
        planted += [Edge(writer, reader) for writer in chosen]
        weight = reading_weight(parts, reader)
        size = READ_LOGITS if isinstance(reader, Logits) else READ
        for writer in chosen:
            weight[room[writer]] = normal(generator, ROOM, weight.shape[1], scale=size * (ROOM * len(chosen)) ** -0.5)
    for writer in writers[1:]:
        written = parts.o[writer.layer, writer.head] if isinstance(writer, Head) else parts.mlp_out[writer.layer]  # type: ignore[union-attr]
        written[:, room[writer]] = normal(generator, written.shape[0], ROOM, scale=WRITE * written.shape[0] ** -0.5)
    parts.unembed[:, : len(SPECIAL)] = 0
    live = on_a_path(planted)
    nodes = tuple(writer for writer in writers if any(edge.sender == writer for edge in live))
    text = f"{len(live)} of {sum(len(writers_before(reader)) for reader in all_readers())} edges carry anything to the logits."
    state = parts.state()
    examples = tuple(ContrastPair(clean, corrupt, *answers(shape, state, clean, corrupt)) for clean, corrupt in PROMPTS)
    return ExactModel(shape, state, WORDS, TrueCircuit(nodes, live, text), examples)


def answers(shape: NativeShape, state: dict[str, Tensor], clean: str, corrupt: str) -> tuple[str, str]:
    """The clean prompt's likeliest word, and the corrupt prompt's (another one)."""
    model = with_weights(shape, state, torch.float64)
    first = len(SPECIAL)
    ids = [[BOS, *(first + WORDS.index(word) for word in text.split())] for text in (clean, corrupt)]
    logits = model(torch.tensor(ids))[:, -1, first:]
    answer = int(logits[0].argmax())
    logits[1, answer] = -torch.inf
    return f" {WORDS[answer]}", f" {WORDS[int(logits[1].argmax())]}"


def reading_weight(parts: Parts, reader: Receiver) -> Tensor:
    """The matrix [d_model, …] with which a reader reads."""
    match reader:
        case HeadPart(layer, head, "q"):
            return parts.q[layer, head]
        case KeyValue(layer, head, "k"):
            return parts.k[layer, head]
        case KeyValue(layer, head, "v"):
            return parts.v[layer, head]
        case MlpIn(layer):
            return parts.mlp_in[layer]
        case _:
            return parts.unembed


def owner(reader: Receiver) -> Sender | None:
    """The writer that a reader belongs to; none for the logits."""
    match reader:
        case HeadPart(layer, head, _) | KeyValue(layer, head, _):
            return Head(layer, head)
        case MlpIn(layer):
            return MlpOut(layer)
        case _:
            return None


def on_a_path(planted: list[Edge]) -> tuple[Edge, ...]:
    """Edges that something from the embedding reaches, and from which something reaches the logits."""
    reached: set[Sender | None] = {Embed()}
    for edge in planted:  # readers come in the order of the forward pass
        if edge.sender in reached:
            reached.add(owner(edge.receiver))
    useful: set[Sender | None] = {None}
    for edge in reversed(planted):
        if owner(edge.receiver) in useful:
            useful.add(edge.sender)
    return tuple(edge for edge in planted if edge.sender in reached and owner(edge.receiver) in useful)
