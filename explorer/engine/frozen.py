"""The local replacement model of one prompt: attention patterns and norms' scales frozen, MLPs' writes free (Ameisen et al. 2025).

With what the MLPs wrote it is the model itself, to rounding; of what the MLPs write it is a linear function, so derivatives with
respect to them are direct effects: through attention's OV circuits and the stream, never through another MLP.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import BridgeError, InterventionError
from explorer.core.sites import Kind
from explorer.engine.edits import AnyEdit, Edit, FeatureEdit, Tape
from explorer.engine.forward import Start, norm, run_blocks
from explorer.engine.interventions import Stack
from explorer.engine.model import Model
from explorer.models.decoder import Decoder
from explorer.models.dictionary import Dictionary
from explorer.prompts.tokens import Tokens

KINDS: tuple[Kind, ...] = ("resid_pre", "resid_mid", "resid_post", "pattern", "mlp_read", "mlp_out")


class FrozenTape(Tape):
    """Puts in the frozen patterns and the MLPs' free writes."""

    def __init__(self, frozen: "Frozen", writes: Sequence[Tensor]) -> None:
        super().__init__(frozen.edits, ("mlp_read",))
        self.frozen, self.writes = frozen, writes
        for layer in range(frozen.decoder.n_layers):
            self.held["attention", layer] = frozen.kept["resid_pre"][layer]
            self.held["mlp", layer] = frozen.read_before_norm(layer)

    def needs(self, kind: Kind, layer: int) -> bool:
        return kind == "pattern" or super().needs(kind, layer)

    def __call__(self, kind: Kind, layer: int, value: Tensor) -> Tensor:
        if kind == "pattern":
            return self.frozen.kept["pattern"][layer]
        if kind == "mlp_out":
            write = self.writes[layer]
            skip = self.frozen.skips.get(layer)
            return write if skip is None else write + self.kept["mlp_read"][layer] @ skip
        return super().__call__(kind, layer, value)


@dataclass(frozen=True, eq=False)
class Frozen:
    """One prompt's run, its patterns and scales; batch axis 1."""

    model: Model
    decoder: Decoder
    tokens: Tokens
    kept: dict[Kind, dict[int, Tensor]]
    final: Float[Tensor, "one pos d_model"]
    skips: dict[int, Float[Tensor, "d_model d_model"]]
    """Of transcoders that also pass on a linear part of what they read."""
    edits: tuple[Edit, ...]
    """The stack, as far as it acts behind the embedding and between the MLPs."""
    features: tuple[FeatureEdit, ...]
    """The stack, as far as it changes features of transcoders."""

    def read_before_norm(self, layer: int) -> Tensor:
        return self.kept["resid_pre" if self.decoder.parallel else "resid_mid"][layer]

    @cached_property
    def embedded(self) -> Float[Tensor, "one pos d_model"]:
        """The stream before the first block, interventions on it included."""
        return self.kept["resid_pre"][0]

    def run(self, embedded: Tensor, writes: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """What every MLP reads [1, pos, d_model], and the stream behind the final norm at its frozen scale."""
        tape = FrozenTape(self, writes)
        final = run_blocks(self.decoder, Start(0, embedded), tape)
        reads = [tape.kept["mlp_read"][layer] for layer in sorted(tape.kept["mlp_read"])]
        return reads, norm(final, self.decoder.norm_final, self.final)


def freeze(model: Model, tokens: Tokens, stack: Stack = (), transcoders: Sequence[Dictionary] = ()) -> Frozen:
    """A prompt's run under a stack, frozen; `BridgeError` for models whose blocks it does not cover."""
    decoder = model.decoder("An attribution graph")
    if not model.info.heads_add_up or not model.info.d_mlp:
        raise BridgeError(
            f"An attribution graph needs MLPs whose writes are summands of the stream; {model.info.title} has none such."
        )
    kinds = [kind for kind in KINDS if kind != "resid_mid" or not decoder.parallel]
    tape = RecordingTape(model.edits(tokens, stack), kinds)
    if tape.outgoing:
        raise InterventionError(
            "An attribution graph shows runs without patched edges. Switch the edges of the stack off."
        )
    final = model.runtime.run(model.batch(tokens.ids), tape)
    skips = {each.layer: each.sae.W_skip.detach().T.to(final) for each in transcoders if hasattr(each.sae, "W_skip")}
    edits = tape.edits.values()
    features = tuple(
        edit for each in edits for edit in each if isinstance(edit, FeatureEdit) and edit.kind == "mlp_out"
    )
    return Frozen(model, decoder, tokens, tape.kept, final, skips, tuple(tape.linear), features)


INSIDE: tuple[Kind, ...] = ("q", "k", "pattern", "neurons", "mlp_out")
"""Edits whose effect is in what is frozen or free anyway."""


class RecordingTape(Tape):
    """Keeps a run, and the stack as edits that are linear: a changed feature becomes the vector that it added."""

    def __init__(self, edits: Iterable[AnyEdit], wanted: Iterable[Kind]) -> None:
        super().__init__(edits, wanted)
        self.linear: list[Edit] = []

    def __call__(self, kind: Kind, layer: int, value: Tensor) -> Tensor:
        outside = kind not in INSIDE and (kind, layer) != ("resid_pre", 0)
        if outside and any(isinstance(edit, FeatureEdit) for edit in self.edits.get((kind, layer), ())):
            after = super().__call__(kind, layer, value)
            places = tuple(range(value.shape[1]))
            self.linear.append(Edit(kind, layer, None, places, "add", (after - value)[0]))
            return after
        if outside:
            self.linear += self.edits.get((kind, layer), ())
        return super().__call__(kind, layer, value)
