"""Toys without norms or without MLPs, random weights, in float64: TransformerLens' own small models, and ours of them."""

import copy
from functools import cache
from typing import Any

import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources.native.model import NativeModel

from explorer.engine.backends import Engine
from explorer.engine.model import Model
from explorer.models.families import read_decoder
from explorer.models.info import LoadedWeights, ModelInfo, SelfCheck
from tests.tiny import SHAPE, tokenizer

TOYS: dict[str, dict[str, Any]] = {
    "attention-only, no norm": {"attn_only": True, "normalization_type": None},
    "no norm": {"normalization_type": None},
    "attention-only": {"attn_only": True, "normalization_type": "LN"},
    "gated, grouped": {"gated_mlp": True, "act_fn": "silu", "n_key_value_heads": 2, "normalization_type": "LN"},
}


def config(name: str) -> Any:
    shape = {
        "d_model": 24,
        "d_head": 6,
        "n_heads": 4,
        "n_layers": 3,
        "n_ctx": 32,
        "d_mlp": 40,
        "d_vocab": SHAPE["vocab"],
    }
    return TransformerBridgeConfig(**{"act_fn": "gelu", "seed": 0} | shape | TOYS[name], dtype=torch.float64)


@cache
def native(name: str) -> Any:
    """The model itself, with weights larger than at initialisation."""
    made = NativeModel(config(name)).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made.eval()


def bridge(name: str) -> Any:
    """A bridge with the same weights."""
    made = TransformerBridge.boot_native(config(name)).to(torch.float64)
    plain = native(name).state_dict()
    with torch.no_grad():
        for key, parameter in made.original_model.named_parameters():
            found = plain.get(key.replace("_original_component.", ""))
            parameter.copy_(
                torch.zeros_like(parameter) if found is None else found
            )  # the bridge adds a bias to the head
    return made


@cache
def toy(name: str) -> Model:
    """Ours, run by the engine."""
    return ours(name, native(name))


def affine_toy() -> Model:
    """No norms, heads that write nothing, and neurons so far above 0 that GELU is the identity: affine from layer to layer."""
    made = copy.deepcopy(native("no norm"))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if ".attn.o." in name:
                parameter.zero_()
            if name.endswith("fc_in.bias"):
                parameter.fill_(400.0)
    return ours("no norm", made, "affine")


def ours(name: str, made: Any, hash_: str = "") -> Model:
    shape = config(name)
    info = ModelInfo(
        key=name, source="", architecture="NativeModel", n_layers=shape.n_layers, n_heads=shape.n_heads,
        n_kv_heads=shape.n_key_value_heads or shape.n_heads, d_model=shape.d_model, d_head=shape.d_head, d_mlp=shape.d_mlp,
        vocab_size=shape.d_vocab, n_ctx=shape.n_ctx, n_parameters=0, dtype="float64", device="cpu", weight_hash=hash_ or name,
        config_hash=name,
    )  # fmt: skip
    weights = LoadedWeights(made, tokenizer(), info)
    return Model(weights, None, Engine(read_decoder(made)), SelfCheck(0.0, 1e-3, 0))
