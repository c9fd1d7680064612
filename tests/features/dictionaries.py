"""Random dictionaries of several kinds, written by sae-lens itself."""

from pathlib import Path
from typing import Any

import sae_lens
import torch

from explorer.engine.model import Model
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import add_dictionary

HOOKS = {"transcoder": "mlp.hook_in", "z": "attn.hook_z"}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "relu": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig, {}),
    "topk": (sae_lens.TopKSAE, sae_lens.TopKSAEConfig, {"k": 5, "rescale_acts_by_decoder_norm": True}),
    "jumprelu": (sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig, {}),
    "gated": (sae_lens.GatedSAE, sae_lens.GatedSAEConfig, {}),
    "layer_norm": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig, {"normalize_activations": "layer_norm"}),
    "transcoder": (sae_lens.Transcoder, sae_lens.TranscoderConfig, {"apply_b_dec_to_input": False}),
    "skip_transcoder": (sae_lens.SkipTranscoder, sae_lens.SkipTranscoderConfig, {"apply_b_dec_to_input": False}),
    "jumprelu_transcoder": (
        sae_lens.JumpReLUTranscoder, sae_lens.JumpReLUTranscoderConfig, {"apply_b_dec_to_input": False},
    ),
}  # fmt: skip


def make(kind: str, width: int, layer: int, place: str, n: int = 48, seed: int = 0) -> Any:
    """A random sae-lens module, some of whose features fire at a token."""
    module, config, extra = KINDS[kind]
    extra = {**extra, "d_out": width} if "transcoder" in kind else extra
    hook = f"blocks.{layer}.{HOOKS.get(place, f'hook_{place}')}"
    metadata = sae_lens.saes.sae.SAEMetadata(hook_name=hook, model_name="random", sae_lens_version=sae_lens.__version__)
    made = module(config(d_in=width, d_sae=n, metadata=metadata, **extra))
    generator = torch.Generator().manual_seed(seed + 10 * layer)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            size = 0.5 if name.startswith("b") else width**-0.5
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
        if hasattr(made, "threshold"):
            made.threshold.copy_(0.3 * torch.rand(n, generator=generator))
    return made


def write(kind: str, folder: Path, width: int, layer: int, place: str, **more: Any) -> Path:
    make(kind, width, layer, place, **more).save_model(folder)
    return folder


def added(model: Model, folder: Path, kind: str, layer: int, place: str, **more: Any) -> Dictionary:
    """A random dictionary that the model finds at its place; float64 for a model in float64."""
    width = model.info.n_heads * model.info.d_head if place == "z" else model.info.d_model
    found = add_dictionary(str(write(kind, folder, width, layer, place, **more)), model.info)
    return model.dictionary(found.place)
