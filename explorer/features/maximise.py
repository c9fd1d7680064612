"""Feature visualisation: a sequence of tokens that makes a feature fire as strongly as search can make it.

Greedy coordinate search (Zou et al. 2023, GCG): the gradient with respect to one-hot tokens proposes swaps, the model tries them.  The
text is optimised, not found: nobody wrote it, and it may be far from anything the model was trained on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from explorer.core.sites import Feature
from explorer.engine.edits import Tape
from explorer.engine.forward import Start, embed, run_blocks
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.models.decoder import Decoder
from explorer.models.dictionary import Dictionary
from explorer.models.info import Progress

CANDIDATES, TRIED = 64, 96


@dataclass(frozen=True, eq=False)
class Maximised:
    """An optimised sequence."""

    feature: Feature
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    acts: tuple[float, ...]
    """The feature's pre-activation at each token."""
    history: tuple[float, ...]
    """Pre-activation at the last token after each step."""


def maximise(
    model: Model,
    feature: Feature,
    *,
    length: int = 6,
    steps: int = 30,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> Maximised:
    """Search for tokens that maximise a feature's pre-activation at the last of them.  Raises `DictionaryError`, `BridgeError`."""
    dictionary = model.dictionary(feature)
    dictionary.feature(feature.index)
    decoder = model.decoder("Feature visualisation")
    weight, bias = (part.to(decoder.embed) for part in dictionary.linear)
    vector, offset = weight[:, feature.index], bias[feature.index]
    generator = torch.Generator().manual_seed(seed)
    special = sorted(set(model.tokenizer.all_special_ids))
    ids = torch.randint(len(decoder.embed), (length,), generator=generator)
    best = float(pre_acts(decoder, dictionary, ids[None], vector, offset)[0, -1])
    history = [best]
    for step in range(steps):
        slopes = token_slopes(decoder, dictionary, ids, vector, offset)
        slopes[:, special] = -torch.inf
        proposals = slopes.topk(min(CANDIDATES, slopes.shape[1])).indices
        rows = ids.repeat(TRIED, 1)
        places = torch.randint(length, (TRIED,), generator=generator)
        picks = torch.randint(proposals.shape[1], (TRIED,), generator=generator)
        rows[torch.arange(TRIED), places] = proposals[places, picks]
        found = pre_acts(decoder, dictionary, rows, vector, offset)[:, -1]
        if float(found.max()) > best:
            best, ids = float(found.max()), rows[int(found.argmax())]
        history.append(best)
        if progress is not None:
            progress((step + 1) / steps, f"pre-activation {best:.2f}")
        if cancelled():
            break
    acts = pre_acts(decoder, dictionary, ids[None], vector, offset)[0]
    words = tuple(model.token_text(int(id_)) for id_ in ids)
    return Maximised(feature, tuple(map(int, ids)), words, tuple(map(float, acts)), tuple(history))


def reached(decoder: Decoder, dictionary: Dictionary, embedded: Tensor) -> Tensor:
    """What the dictionary reads [row, pos, d_in] of embedded rows."""
    kind, layer = dictionary.reads, dictionary.layer
    tape = Tape((), (kind,))
    run_blocks(decoder, Start(0, embedded), tape, until=layer)
    return dictionary.flat(tape.kept[kind][layer])


@torch.no_grad()
def pre_acts(
    decoder: Decoder, dictionary: Dictionary, rows: Int[Tensor, "row pos"], vector: Tensor, offset: Tensor
) -> Float[Tensor, "row pos"]:
    return reached(decoder, dictionary, embed(decoder, rows)) @ vector + offset


def token_slopes(
    decoder: Decoder, dictionary: Dictionary, ids: Int[Tensor, " pos"], vector: Tensor, offset: Tensor
) -> Float[Tensor, "pos vocab"]:
    """∂(pre-activation at the last token) / ∂(one-hot token) at each position."""
    with torch.enable_grad():
        embedded = embed(decoder, ids[None]).detach().requires_grad_()
        value = (reached(decoder, dictionary, embedded)[0, -1] @ vector + offset).sum()
        slope = torch.autograd.grad(value, embedded)[0][0]
    return slope @ decoder.embed.T * decoder.embed_scale
