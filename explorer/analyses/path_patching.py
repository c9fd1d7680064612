"""Path patching: what a sender does through some of its paths alone (Wang et al. 2023, IOI, section 3.1; Goldowsky-Dill et
al. 2023, Localizing Model Behavior with Path Patching).

1. The base run once more, with the sender's value of the source run, every other head held at the base run; MLPs between
   sender and receivers are recomputed (IOI) or held.  What the receivers read there, they get by those paths alone.
2. The base run with these receivers set to what they read in 1, everything behind them recomputed.  What one receiver changes
   in another one's input is not counted.

Norms in front of the receivers (and MLPs) are recomputed, or keep the base run's scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import BridgeError, InterventionError, PairError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.core.provenance import Provenance
from explorer.core.sites import (
    AttnOut,
    Edge,
    Embed,
    Head,
    HeadPart,
    KeyValue,
    Kind,
    Logits,
    MlpIn,
    MlpOut,
    Receiver,
    Sender,
)
from explorer.engine.contrasts import (
    Contrast,
    Direction,
    Side,
    contrasts,
    difference,
    objective,
    objective_edited,
    read_objective,
    run_edited,
    values_from,
)
from explorer.engine.edges import EdgeMode
from explorer.engine.edits import AnyEdit, Edit, Tape, part
from explorer.engine.fitting import check_order, receiver_place
from explorer.engine.forward import unembed, write_mlp
from explorer.engine.model import Model
from explorer.engine.sweep import run_sweep
from explorer.engine.sweep_plan import plan_sweep
from explorer.prompts.tokens import Bos

Between = Literal["recomputed", "frozen"]
READ: tuple[Kind, ...] = ("q", "k", "v", "neurons")
"""What is kept of what receivers compute from what they read."""


@dataclass(frozen=True, eq=False)
class PathPatching:
    sender: Sender
    receivers: tuple[Receiver, ...]
    direction: Direction
    mlps: Between
    norms: Between
    direct: Float[np.ndarray, " pair"]
    """Change of the objective when the sender's patch reaches the receivers alone, in logits."""
    total: Float[np.ndarray, " pair"]
    """Change of the objective when the sender is patched as a whole (activation patching)."""
    all_paths: Float[np.ndarray, " pair"]
    """The same by edge mode, every edge out of the sender patched: equal to `total`, or something is wrong.  NaN where edge mode
    cannot run (on the bridge, or under a stack that changes the stream itself)."""
    clean: Float[np.ndarray, " pair"]
    corrupt: Float[np.ndarray, " pair"]
    patterns: dict[str, tuple[Float[np.ndarray, "dest source"], Float[np.ndarray, "dest source"]]]
    """Attention of each receiving head on the first pair, before and after."""
    notes: tuple[str, ...]
    provenance: Provenance

    @property
    def check(self) -> float:
        """Largest |all paths − total effect|, in logits."""
        return float(np.abs(self.all_paths - self.total).max())

    @property
    def frame(self) -> pd.DataFrame:
        """One row a pair."""
        return pd.DataFrame({"direct": self.direct, "total": self.total, "clean": self.clean, "corrupt": self.corrupt})


@dataclass(frozen=True, eq=False)
class Carried:
    """What the receivers read when the sender's patch comes by its direct paths alone."""

    base: Tensor
    """Final stream of the base run, [pos, d_model]."""
    final: Tensor
    """The stream that the logits read by those paths, [pos, d_model]."""
    tape: Tape


def path_patching(
    model: Model,
    pairs: ContrastPair | Sequence[ContrastPair],
    sender: Sender,
    receivers: Sequence[Receiver],
    *,
    direction: Direction = "noising",
    mlps: Between = "recomputed",
    norms: Between = "recomputed",
    interventions: Any = (),
    bos: Bos = "default",
) -> PathPatching:
    """Patch a sender's paths to some receivers, and the sender as a whole.

    Args:
        sender: `Embed()`, a `Head`, `AttnOut` or `MlpOut`.
        receivers: `HeadPart(layer, head, "q")`, `KeyValue(layer, kv_head, "k" or "v")`, `MlpIn(layer)` or `Logits()`, all behind
            the sender.
        direction: "noising" puts the corrupt value into the clean run, "denoising" the clean one into the corrupt run.
        mlps: whether MLPs between sender and receivers pass the change on ("recomputed"), or only the stream does ("frozen").
        norms: "frozen" keeps the base run's scale in the norms in front of receivers and MLPs, the final one too if the logits receive.

    Raises `SiteError`, `InterventionError` (a receiver that reads before the sender writes), `PairError`, `AnswerError`;
    `BridgeError` for frozen norms on the bridge.
    """
    if not receivers:
        raise PairError("Path patching needs at least one receiver, such as the logits or a head's queries.")
    for receiver in receivers:
        check_order(Edge(sender, receiver), model.info)
    found = contrasts(model, pairs, interventions, bos)
    rows = [one_pair(model, each, sender, receivers, direction, mlps, norms) for each in found]
    notes = tuple(dict.fromkeys(row.note for row in rows if row.note))
    direct, total, all_paths, clean, corrupt = np.array([row.effects for row in rows]).T
    texts = [side.tokens for each in found for side in (each.clean, each.corrupt)]
    return PathPatching(
        sender, tuple(receivers), direction, mlps, norms, direct, total, all_paths, clean, corrupt, rows[0].patterns, notes,
        model.provenance(texts, found[0].clean.stack),
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    effects: tuple[float, float, float, float, float]
    """direct, total, all paths, clean, corrupt."""
    patterns: dict[str, tuple[np.ndarray, np.ndarray]]
    note: str


def one_pair(
    model: Model,
    contrast: Contrast,
    sender: Sender,
    receivers: Sequence[Receiver],
    direction: Direction,
    mlps: Between,
    norms: Between,
) -> Row:
    base, source = contrast.base(direction), contrast.source(direction)
    before = objective(model, base, contrast.read)
    carried = carry(model, base, source, sender, mlps, norms)
    heads = [receiver for receiver in receivers if isinstance(receiver, HeadPart | KeyValue)]
    edits = [receive(model, carried, receiver) for receiver in receivers]
    final, tape = run_edited(model, base, edits, ("pattern",) if heads else ())
    if norms == "frozen" and Logits() in receivers:
        logits = unembed(model.decoder("A frozen norm"), final[-1], carried.base[-1])
        after = float(difference(logits[list(contrast.read)]))
    else:
        after = read_objective(model, final, contrast.read)
    total = objective_edited(model, base, contrast.read, sent(model, source, sender)) - before
    all_paths, note = through_all_edges(model, base, source, sender, contrast.read)
    ends = (objective(model, side, contrast.read) for side in (contrast.clean, contrast.corrupt))
    patterns = attention_of(model, base, heads, tape)
    return Row((after - before, total, all_paths - before, *ends), patterns, note)  # type: ignore[arg-type]


def carry(model: Model, base: Side, source: Side, sender: Sender, mlps: Between, norms: Between) -> Carried:
    """Step 1: the sender's patch along its direct paths, everything else held at the base run."""
    held: list[Kind] = ["z", "mlp_out"]
    if norms == "frozen":
        model.decoder("A frozen norm")
        held += ["resid_pre"] if model.info.parallel else ["resid_pre", "resid_mid"]
    kept = model.activations(base.tokens, base.stack, held)
    frozen: list[Kind] = ["z", "mlp_out"] if mlps == "frozen" else ["z"]
    edits: list[AnyEdit] = [
        Edit(kind, layer, None, tuple(range(len(base.tokens))), "set", value)
        for kind in frozen
        for layer, value in kept.kept[kind].items()
    ]
    tape = Tape((*model.edits(base.tokens, base.stack), *edits, *sent(model, source, sender)), READ)
    if norms == "frozen":
        before = kept.kept["resid_pre"]
        between = before if model.info.parallel else kept.kept["resid_mid"]
        tape.held = {("attention", layer): value[None] for layer, value in before.items()}
        tape.held |= {("mlp", layer): value[None] for layer, value in between.items()}
    final = model.runtime.run(model.batch(base.tokens.ids), tape)[0]
    return Carried(kept.final, final, tape)


def sent(model: Model, source: Side, sender: Sender) -> list[Edit]:
    """The edit that gives the sender its value of the source run."""
    if isinstance(sender, Embed):
        value = model.activations(source.tokens, source.stack, ("resid_pre",)).kept["resid_pre"][0]
        return [Edit("resid_pre", 0, None, tuple(range(len(value))), "set", value)]
    return values_from(model, source, [Place(sender)])


def receive(model: Model, carried: Carried, receiver: Receiver) -> Edit:
    """Step 2 for one receiver: what it computes from what it read in step 1."""
    if isinstance(receiver, Logits):
        change = carried.final - carried.base
        return Edit("resid_post", model.info.n_layers - 1, None, tuple(range(len(change))), "add", change)
    kind, layer, index = receiver_place(Edge(Embed(), receiver), model.info)
    name: Kind = "neurons" if kind == "mlp_in" else kind  # type: ignore[assignment]
    value = part(carried.tape.kept[name][layer], name, index)[0]
    return Edit(name, layer, index, tuple(range(len(value))), "set", value)


def through_all_edges(
    model: Model, base: Side, source: Side, sender: Sender, read: tuple[int, int]
) -> tuple[float, str]:
    """The objective with every edge out of the sender patched, by edge mode; NaN and the reason where that cannot run."""
    try:
        if base.stack != source.stack:
            raise InterventionError("The two runs stand under different stacks, which a graph of edges cannot hold.")
        mode = EdgeMode(model, [base.tokens], [source.tokens], base.stack)
    except (BridgeError, InterventionError) as error:
        return float("nan"), f"“All paths = total effect” was not checked: {error}"
    mask = mode.graph.exists.to(mode.base.final).clone()
    for number, writer in enumerate(mode.graph.writers):
        heads = isinstance(sender, AttnOut) and isinstance(writer, Head) and writer.layer == sender.layer
        if writer == sender or heads:
            mask[:, number] = 0
    if isinstance(sender, Head) and sender not in mode.graph.writers:
        return float(
            "nan"
        ), "“All paths = total effect” was not checked: a norm joins this model's heads to one writer."
    return float(difference(mode.logits(mask[None], torch.tensor([read]))[0, 0])), ""


def attention_of(
    model: Model, base: Side, heads: Sequence[HeadPart | KeyValue], tape: Tape
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Patterns before and after of the receiving heads; of a key-value head all the query heads that it serves."""
    if not heads:
        return {}
    before = model.activations(base.tokens, base.stack, ("pattern",)).kept["pattern"]
    served = model.info.n_heads // model.info.n_kv_heads
    found = {}
    for receiver in heads:
        first = receiver.head if isinstance(receiver, HeadPart) else receiver.kv_head * served
        for head in range(first, first + (1 if isinstance(receiver, HeadPart) else served)):
            after = tape.kept["pattern"][receiver.layer][0, head]
            plain, patched = (each.double().cpu().numpy() for each in (before[receiver.layer][head], after))
            found[f"L{receiver.layer}H{head}"] = plain, patched
    return found


@dataclass(frozen=True, eq=False)
class PathMap:
    """The effect of one sender through each receiver alone."""

    sender: Sender
    direction: Direction
    frame: pd.DataFrame
    """A row a receiver: receiver, kind (q, k, v, mlp_in, logits), layer, index, change of the objective in logits."""
    provenance: Provenance


def path_map(
    model: Model,
    pair: ContrastPair,
    sender: Sender,
    *,
    direction: Direction = "noising",
    mlps: Between = "recomputed",
    norms: Between = "recomputed",
    interventions: Any = (),
    bos: Bos = "default",
) -> PathMap:
    """`path_patching` from a sender to every receiver behind it, each alone; `BridgeError` on the bridge."""
    decoder = model.decoder("A map of all receivers")
    (contrast,) = contrasts(model, pair, interventions, bos)
    base = contrast.base(direction)
    carried = carry(model, base, contrast.source(direction), sender, mlps, norms)
    before = objective(model, base, contrast.read)
    kept = carried.tape.kept
    given: dict[str, dict[int, Tensor]] = {"q": kept["q"], "k": kept["k"], "v": kept["v"]}
    if kept["neurons"]:
        given["mlp_out"] = {layer: write_mlp(decoder, layer, value) for layer, value in kept["neurons"].items()}
    rows: list[dict[str, Any]] = []
    for kind, values in given.items():
        behind = [layer for layer in sorted(values) if sees(sender, kind, layer, model.info.parallel)]
        if not behind:
            continue
        plan = plan_sweep(
            model, kind, [base.tokens], values, layers=behind, interventions=[base.stack], read=torch.tensor([contrast.read])
        )  # fmt: skip
        for swept in run_sweep(plan):
            for number, change in zip(swept.cells, difference(swept.logits[:, 0]).tolist(), strict=True):
                cell = plan.cells[number]
                receiver: Receiver = MlpIn(cell.layer)
                if cell.index is not None:
                    receiver = head_receiver(cell.layer, cell.index, kind)
                rows.append(row_of(receiver, "mlp_in" if kind == "mlp_out" else kind, cell.index, change - before))
    held = carried.base[-1] if norms == "frozen" else None
    logits = unembed(decoder, carried.final[-1], held).detach()
    rows.append(row_of(Logits(), "logits", None, float(difference(logits[list(contrast.read)])) - before))
    texts = [contrast.clean.tokens, contrast.corrupt.tokens]
    return PathMap(sender, direction, pd.DataFrame(rows), model.provenance(texts, base.stack))


def head_receiver(layer: int, index: int, kind: str) -> HeadPart | KeyValue:
    return HeadPart(layer, index, "q") if kind == "q" else KeyValue(layer, index, "k" if kind == "k" else "v")


def row_of(receiver: Receiver, kind: str, index: int | None, change: float) -> dict[str, Any]:
    layer = -1 if isinstance(receiver, Logits) else receiver.layer
    return {"receiver": str(receiver), "kind": kind, "layer": layer, "index": -1 if index is None else index, "change": change}  # fmt: skip


def sees(sender: Sender, kind: str, layer: int, parallel: bool) -> bool:
    """Whether a reader of a layer comes behind the sender."""
    if isinstance(sender, Embed):
        return True
    same = kind == "mlp_out" and not isinstance(sender, MlpOut) and not parallel
    return layer > sender.layer or (layer == sender.layer and same)
