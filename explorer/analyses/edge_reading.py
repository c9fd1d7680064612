"""Why an edge into a head's queries or keys: which tokens' attention scores it moves.

The head's pattern in the clean run, and in the run in which this edge alone carries what its sender writes on the corrupt
prompt.  A change of a score shows as a change of log attention, up to one number a row that the softmax takes out:

    moved(i, j) = (ln A_ij − ln A'_ij) − mean over sources of the same
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from explorer.core.errors import PairError, SiteError
from explorer.core.pairs import ContrastPair
from explorer.core.provenance import Provenance
from explorer.core.sites import Edge, Head, HeadPart, KeyValue
from explorer.engine.interventions import EdgePatch, as_stack
from explorer.engine.model import Model
from explorer.prompts.tokens import Bos, Tokens

SMALLEST = 1e-30


@dataclass(frozen=True, eq=False)
class EdgeReading:
    edge: Edge
    head: Head
    """The head whose pattern is shown; of those that a key-value head serves, the one that changes most."""
    dest: int
    """The destination whose row changes most."""
    attention: Float[np.ndarray, " source"]
    without: Float[np.ndarray, " source"]
    """The same with the edge corrupted."""
    moved: Float[np.ndarray, " source"]
    """Attention score with the edge minus that without, relative to the row's mean."""
    tokens: Tokens
    provenance: Provenance

    @property
    def frame(self) -> pd.DataFrame:
        """A row a source: source, attention, without, moved; largest |moved| × attention first."""
        table = pd.DataFrame({"source": np.arange(len(self.moved)), "attention": self.attention, "without": self.without, "moved": self.moved})  # fmt: skip
        weight = table["moved"].abs() * table[["attention", "without"]].max(axis=1)
        return table.loc[weight.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def edge_reading(
    model: Model, pair: ContrastPair, edge: Edge, *, interventions: Any = (), bos: Bos = "default"
) -> EdgeReading:
    """What one edge into queries or keys does to its head's pattern on a contrast pair's clean prompt.

    Raises `SiteError` for other edges, `PairError` without a corrupt prompt, and as `run`.
    """
    receiver = edge.receiver
    if not isinstance(receiver, HeadPart | KeyValue) or receiver.kind not in ("q", "k"):
        raise SiteError(f"{edge}: only edges into queries or keys move attention scores.")
    if not pair.corrupt.strip():
        raise PairError(
            "What an edge does is seen against the corrupt prompt, which is empty. Write one on the Prompt page."
        )
    stack, tokens = as_stack(interventions), model.tokenize(pair.clean, bos)
    served = model.info.n_heads // model.info.n_kv_heads
    heads = (
        [receiver.head] if isinstance(receiver, HeadPart) else [receiver.kv_head * served + n for n in range(served)]
    )
    before, after = (
        model.activations(tokens, run, ("pattern",)).kept["pattern"][receiver.layer].double().cpu().numpy()
        for run in (stack, (*stack, EdgePatch(edge, pair.corrupt)))
    )
    change = np.abs(before[heads] - after[heads]).sum(2)
    number, dest = np.unravel_index(int(change.argmax()), change.shape)
    if change.max() == 0:
        number, dest = np.int64(0), np.int64(len(tokens) - 1)
    head = heads[int(number)]
    first, second = before[head, dest, : dest + 1], after[head, dest, : dest + 1]
    moved = np.log(np.maximum(first, SMALLEST)) - np.log(np.maximum(second, SMALLEST))
    return EdgeReading(
        edge,
        Head(receiver.layer, head),
        int(dest),
        first,
        second,
        moved - moved.mean(),
        tokens,
        model.provenance([tokens], stack),
    )
