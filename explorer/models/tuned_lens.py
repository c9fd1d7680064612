"""Tuned lenses as files: one affine translator a layer, with the record of its training, for one model alone.

    TunedLens_l(h) = LN_f(h + L_l R_l h + b_l) W_U        (Belrose et al. 2023, Eliciting Latent Predictions, eq. 5)

`L R` may have a rank below d_model, which keeps the file small.  The layer after which the output is read has none.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from explorer.core.errors import LensError
from explorer.models.cache import data_directory
from explorer.models.info import ModelInfo
from explorer.models.zoo.shipped import FILES

NAME = "tuned-lens.safetensors"


@dataclass(frozen=True, eq=False)
class TunedLens:
    """Translators of every layer but the last."""

    left: Float[Tensor, "layer d_model rank"]
    right: Float[Tensor, "layer rank d_model"]
    bias: Float[Tensor, "layer d_model"]
    record: dict[str, Any]
    """How it was trained, and its KL to the output on held-out text, in nats, by layer, beside the logit lens's."""

    def translate(self, layer: int, stream: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        """The stream after `layer` in the last layer's terms; unchanged after the last layer."""
        if layer >= len(self.bias):
            return stream
        left, right, bias = (part[layer].to(stream) for part in (self.left, self.right, self.bias))
        return stream + (stream @ right.T) @ left.T + bias

    @property
    def identity(self) -> str:
        """Tells lenses apart: SHA-256 of the training recipe and text."""
        return str(self.record["digest"])


def write_lens(lens: TunedLens, path: Path) -> None:
    """One safetensors file in float16, its record as metadata; replaced in one move."""
    fresh = path.with_suffix(".new")
    tensors = {name: getattr(lens, name).half().contiguous() for name in ("left", "right", "bias")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, fresh, {"record": json.dumps(lens.record)})
        fresh.replace(path)
    except OSError as error:
        raise LensError(f"{path} cannot be written: {error.strerror or error}.") from error


def read_lens(path: Path, info: ModelInfo) -> TunedLens:
    """A lens of this very model; `LensError` for one of another model, or a file that cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["record"])
            left, right, bias = (file.get_tensor(name).float() for name in ("left", "right", "bias"))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise LensError(f"{path} is no tuned lens that can be read ({error}). Train one: {command(info)}") from error
    found, wanted = str(record.get("weight_hash")), info.weight_hash
    if found != wanted:
        raise LensError(
            f"{path} was trained on {record.get('model')} with weights {found[:12]}…; {info.title} has {wanted[:12]}…, so it "
            f"would translate into another model's terms. Train one: {command(info)}"
        )
    wide = (info.n_layers - 1, info.d_model)
    if tuple(bias.shape) != wide or left.shape[:2] != bias.shape or right.shape != left.mT.shape:
        raise LensError(f"{path} has the wrong shape for {info.title}. Train one: {command(info)}")
    if not all(torch.isfinite(part).all() for part in (left, right, bias)):
        raise LensError(f"{path} holds numbers that are not finite. Train one: {command(info)}")
    return TunedLens(left, right, bias, record)


def command(info: ModelInfo) -> str:
    return f"circuit-explorer train-lens {info.key}"


def own_path(info: ModelInfo) -> Path:
    """Where a lens that the user trained lies: in the data directory, by the model's weights."""
    return data_directory() / "lenses" / info.weight_hash[:16] / NAME


def shipped_path(info: ModelInfo) -> Path:
    """Where a lens that ships lies: apart from the model's files, whose hash it must not change."""
    return FILES / "lenses" / f"{info.title}.safetensors"


def find_lens(info: ModelInfo) -> TunedLens:
    """The user's own lens of a model, else the shipped one; `LensError` where there is none."""
    for path in (own_path(info), shipped_path(info)):
        if path.is_file():
            return read_lens(path, info)
    raise LensError(f"There is no tuned lens of {info.title}. Train one: {command(info)}")
