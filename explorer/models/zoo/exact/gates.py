"""Logic gates: two heads fetch a bit each, one MLP joins them by AND or by OR (after Conmy et al. 2023).

The two directions of patching disagree here.  Clean `on on`, corrupt `off off`: corrupting one bit of the clean run
breaks AND and leaves OR; restoring one bit in the corrupt run leaves AND and brings OR back.
"""

from explorer.core.pairs import ContrastPair
from explorer.core.sites import Embed, Head, HeadPart, KeyValue, Logits, MlpIn, MlpOut
from explorer.models.native import NativeShape
from explorer.models.zoo.exact.parts import SPECIAL, ExactModel, Parts, TrueCircuit, edges, eye, spaces

WORDS = ("on", "off", "=", "yes", "no")
ON, _OFF, EQUALS, YES, NO = range(len(SPECIAL), len(SPECIAL) + len(WORDS))
N_CTX, D_HEAD = 8, 8
LOGIT = 10.0
"""yes − no is +10 where the gate is open, −10 where it is shut."""


def gate_and() -> ExactModel:
    return build("AND: the MLP's neuron is relu(a + b − 1).", join=(0.0, 1.0))


def gate_or() -> ExactModel:
    return build("OR: the MLP writes relu(a + b) − relu(a + b − 1).", join=(1.0, -1.0))


def build(text: str, join: tuple[float, float]) -> ExactModel:
    size = len(SPECIAL) + len(WORDS)
    stream = spaces(token=size, position=N_CTX, a=1, b=1, gate=1)
    shape = NativeShape(
        n_layers=1, n_heads=2, d_head=D_HEAD, d_model=stream["gate"].stop, n_ctx=N_CTX, d_vocab=size, d_mlp=2
    )
    parts = Parts(shape)
    parts.embed[:, stream["token"]] = eye(size)
    parts.positions[:, stream["position"]] = eye(N_CTX)
    for head, (name, offset) in enumerate((("a", 2), ("b", 1))):
        parts.attend_position(0, head, stream["position"], offset)
        parts.v[0, head, ON, 0] = 1
        parts.o[0, head, 0, stream[name].start] = 1
        parts.mlp_in[0, stream[name]] = 1
    parts.mlp_bias[0, 1] = -1
    for neuron, weight in enumerate(join):
        parts.mlp_out[0, neuron, stream["gate"]] = weight
    for word, sign in ((YES, 1), (NO, -1)):
        parts.unembed[stream["gate"], word] = sign * LOGIT
        parts.unembed[EQUALS, word] = -sign * LOGIT / 2
    heads = [Head(0, 0), Head(0, 1)]
    circuit = TrueCircuit(
        nodes=(Embed(), *heads, MlpOut(0)),
        edges=edges(
            *((Embed(), HeadPart(0, head.head, "q")) for head in heads),
            *((Embed(), KeyValue(0, head.head, "k")) for head in heads),
            *((Embed(), KeyValue(0, head.head, "v")) for head in heads),
            *((head, MlpIn(0)) for head in heads),
            (MlpOut(0), Logits()),
            (Embed(), Logits()),
        ),
        text=f"L0H0 fetches the word two places back (a), L0H1 the word before (b); on is 1, off is 0. {text} "
        "`=` itself gives the threshold.",
    )
    return ExactModel(shape, parts.state(), WORDS, circuit, (ContrastPair("on on =", "off off =", " yes", " no"),))
