"""Sparse dictionaries of a model: what they read, what a feature writes, and whether they belong to the model.

    f = σ(W_e (x − b_d) + b_e)      x̂ = W_d f + b_d      x = x̂ + error

(Cunningham et al. 2023; Bricken et al. 2023; transcoders: Dunefsky et al. 2024, where x̂ stands for the MLP's output.)
Encoding is sae-lens' own code.  The error term is always kept: a feature that is changed from a to a' adds
(a' − a) times its decoder row, and nothing else.
"""

import copy
import re
import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import DictionaryError
from explorer.core.sites import Feature, FeatureKind, Kind, place_name
from explorer.models.info import ModelInfo
from explorer.models.saelens import NORMED

HOOKS: dict[str, FeatureKind] = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    "attn.hook_z": "z",
}
MLP_READS = ("mlp.hook_in",)
"""Behind the norm, its weights applied."""
HOOK = re.compile(r"blocks\.(\d+)\.(.+)")
STREAMS: tuple[FeatureKind, ...] = ("resid_pre", "resid_mid", "resid_post")


@dataclass(frozen=True, eq=False)
class Dictionary:
    """A loaded dictionary of one place of one model."""

    sae: Any
    """The sae-lens module, in float32 or better."""
    layer: int
    kind: FeatureKind
    name: str = ""
    """Told apart from others at its place by this; empty for the first."""
    identity: str = ""
    """SHA-256 of its weights and configuration."""
    card: dict[str, Any] = field(default_factory=dict)
    """How it was trained and what was measured; empty if unknown."""
    centred: bool = False
    """It reads the stream with its mean over d_model taken off (`center_writing_weights`)."""
    lock: Any = field(default_factory=threading.RLock)

    @property
    def place(self) -> str:
        return place_name(self.layer, self.kind, self.name)

    @property
    def n_features(self) -> int:
        return int(self.sae.W_dec.shape[0])

    @property
    def d_in(self) -> int:
        return int(self.sae.W_enc.shape[0])

    @property
    def d_out(self) -> int:
        return int(self.sae.W_dec.shape[1])

    @property
    def architecture(self) -> str:
        return str(self.sae.cfg.architecture())

    @property
    def is_transcoder(self) -> bool:
        return self.kind == "transcoder"

    @property
    def reads(self) -> Kind:
        return reads_and_writes(self.kind)[0]

    @property
    def writes(self) -> Kind:
        return reads_and_writes(self.kind)[-1]

    def feature(self, index: int) -> Feature:
        """The site of a feature; `DictionaryError` if there is none of that number."""
        if not 0 <= index < self.n_features:
            raise DictionaryError(f"{self.place} has features 0 to {self.n_features - 1:,}; there is no {index:,}.")
        return Feature(self.layer, self.kind, index, self.name)

    def flat(self, x: Tensor) -> Tensor:
        """An activation as the dictionary reads it, [..., d_in]: heads end to end, the stream centred where it asks."""
        x = heads_end_to_end(x, self.kind)
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def encode(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows feature"]:
        """Activations of every feature, with sae-lens' own code."""
        with self.lock:  # it keeps the norm of its last input
            found: Tensor = self.sae.encode(x.to(self.sae.W_enc.dtype)).detach()
        return found.to(x.dtype)

    def decode(
        self, acts: Float[Tensor, "*rows feature"], x: Float[Tensor, "*rows d_in"]
    ) -> Float[Tensor, "*rows d_out"]:
        """What the features stand for, x̂; `x` is what was encoded (it gives the scale, and what a skip passes on)."""
        base: Tensor = self.sae.b_dec.detach().to(acts) + acts @ self.decoder.to(acts)
        base = base * self.scale(x)
        if self.normed == "layer_norm":
            base = base + x.mean(-1, keepdim=True)
        skip = getattr(self.sae, "W_skip", None)
        return base if skip is None else base + x @ skip.detach().to(x).T

    def reconstruct(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
        return self.decode(self.encode(x), x)

    @property
    def normed(self) -> str:
        return str(self.sae.cfg.normalize_activations)

    def scale(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows one"] | float:
        """By what a decoder row counts at an input: 1, but for dictionaries that normalise each input."""
        if self.normed == "constant_norm_rescale":
            size: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / self.d_in**0.5
            return size
        if self.normed == "layer_norm":
            return torch.std(x, -1, keepdim=True)
        return 1.0

    @cached_property
    def decoder(self) -> Float[Tensor, "feature d_out"]:
        """What one unit of each feature adds to the place that is written."""
        rows: Tensor = self.sae.W_dec.detach()
        rescaled = getattr(self.sae.cfg, "rescale_acts_by_decoder_norm", False)
        return rows / rows.norm(dim=-1, keepdim=True) if rescaled else rows

    @cached_property
    def linear(self) -> tuple[Float[Tensor, "d_in feature"], Float[Tensor, " feature"]]:
        """Weights and biases of the features' pre-activations, x W + b; `DictionaryError` where they are not linear."""
        cfg, sae = self.sae.cfg, self.sae
        if self.normed in NORMED or self.architecture in ("gated", "matching_pursuit", "temporal"):
            raise DictionaryError(
                f"{self.place} ({self.architecture}, {self.normed}): its features are no linear function of what it reads, so "
                "no attribution of them adds up. Use a ReLU, TopK, BatchTopK or JumpReLU dictionary without normalisation."
            )
        weight, bias = sae.W_enc.detach(), sae.b_enc.detach()
        if cfg.apply_b_dec_to_input:
            bias = bias - sae.b_dec.detach() @ weight
        if getattr(cfg, "rescale_acts_by_decoder_norm", False):
            norms = sae.W_dec.detach().norm(dim=-1)
            weight, bias = weight * norms, bias * norms
        return weight, bias

    def to(self, dtype: torch.dtype) -> "Dictionary":
        """A copy in another precision."""
        return replace(self, sae=copy.deepcopy(self.sae).to(dtype=dtype), lock=threading.RLock())


def place_of(sae: Any) -> tuple[int, FeatureKind]:
    """Layer and kind that a loaded module was trained on; `DictionaryError` if it does not say, or is another."""
    metadata = sae.cfg.metadata
    hook = str(getattr(metadata, "hook_name", "") or "")
    match = HOOK.fullmatch(hook)
    transcoder = "transcoder" in str(sae.cfg.architecture())
    known = ", ".join([*HOOKS, "mlp.hook_in (transcoders)"])
    if match is None:
        raise DictionaryError(f"It does not say which activation it reads (hook_name {hook[:60]!r}). Known: {known}.")
    layer, name = int(match[1]), match[2]
    if transcoder and name in MLP_READS:
        return layer, "transcoder"
    if transcoder or name not in HOOKS:
        raise DictionaryError(f"It reads {hook[:60]!r}, which is not shown here. Known: {known}.")
    return layer, HOOKS[name]


def reads_and_writes(kind: FeatureKind) -> tuple[Kind, ...]:
    """The activations that a dictionary reads and writes: one, two for a transcoder."""
    return ("mlp_read", "mlp_out") if kind == "transcoder" else (kind,)


def heads_end_to_end(x: Tensor, kind: FeatureKind) -> Tensor:
    return x.flatten(-2) if kind == "z" else x


def width_of(kind: FeatureKind, info: ModelInfo) -> int:
    return info.n_heads * info.d_head if kind == "z" else info.d_model


def check_fits(dictionary: Dictionary, info: ModelInfo) -> Dictionary:
    """The dictionary itself; `DictionaryError` if it is of another model or place: both widths are named."""
    layer, kind = dictionary.layer, dictionary.kind
    if not 0 <= layer < info.n_layers:
        raise DictionaryError(
            f"{dictionary.place} is of layer {layer}; {info.title} has layers 0 to {info.n_layers - 1}. It belongs to another model."
        )
    if kind == "resid_mid" and info.parallel:
        raise DictionaryError(
            f"{dictionary.place}: {info.title} has no resid_mid, its attention and MLP read one stream."
        )
    if kind in ("mlp_out", "transcoder") and not info.d_mlp:
        raise DictionaryError(f"{dictionary.place}: {info.title} has no MLPs.")
    wanted = width_of(kind, info)
    for what, found in (("reads", dictionary.d_in), ("writes", dictionary.d_out)):
        if found != wanted:
            raise DictionaryError(
                f"{dictionary.place} {what} {found} numbers; {info.title} has {wanted} there (its d_model is {info.d_model}). "
                "It belongs to another model or site."
            )
    check_trained_on(dictionary, info)
    check_decodes(dictionary)
    return dictionary


def check_trained_on(dictionary: Dictionary, info: ModelInfo) -> None:
    found = dictionary.card.get("weight_hash")
    if found and found != info.weight_hash:
        raise DictionaryError(
            f"{dictionary.place} was trained on {dictionary.card.get('model')} with weights {str(found)[:12]}…; {info.title} has "
            f"{info.weight_hash[:12]}…. Train one: circuit-explorer train-sae {info.key} --site {dictionary.place}"
        )


@torch.no_grad()
def check_decodes(dictionary: Dictionary) -> None:
    """Whether features add up as this code says, against sae-lens' own decoding of a made-up input."""
    generator = torch.Generator().manual_seed(0)
    sae = dictionary.sae
    if not all(bool(torch.isfinite(tensor).all()) for tensor in sae.state_dict().values()):
        raise DictionaryError(f"{dictionary.place} holds numbers that are not finite.")
    x = torch.randn(4, dictionary.d_in, generator=generator).to(sae.W_enc.dtype)
    with dictionary.lock:
        theirs = sae(x)
    ours = dictionary.reconstruct(x)
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=1e-3, atol=1e-3 * float(theirs.abs().max())):
        raise DictionaryError(
            f"{dictionary.place} is a {dictionary.architecture} dictionary, whose features do not add up to its output, so they "
            "cannot be changed one by one. Use ReLU, TopK, BatchTopK, JumpReLU or gated dictionaries."
        )


def kinds() -> tuple[FeatureKind, ...]:
    return cast(tuple[FeatureKind, ...], get_args(FeatureKind))
