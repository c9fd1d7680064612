"""Small models without a Hugging Face class: attention-only, or without norms.  TransformerLens' own `NativeModel` runs them.

A directory of such a model holds `config.json` (`"architectures": ["NativeModel"]` and the fields of `NativeShape`),
`model.safetensors` and a tokenizer.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from explorer.core.errors import DamagedModelError
from explorer.models.adapter import native_model
from explorer.models.info import ModelInfo

ARCHITECTURE = "NativeModel"


@dataclass(frozen=True)
class NativeShape:
    """Everything about such a model that is not a weight: learned positions, causal attention, pre-norm or none."""

    n_layers: int
    n_heads: int
    d_head: int
    d_model: int
    n_ctx: int
    d_vocab: int
    d_mlp: int = 0
    """Neurons of an MLP; 0 for a model of attention alone."""
    act_fn: str = "relu"
    normalization_type: str | None = None
    """`"LN"`, or None for none at all."""

    def make(self) -> nn.Module:
        """A `NativeModel` with random weights."""
        made: nn.Module = native_model(asdict(self) | {"attn_only": self.d_mlp == 0, "d_mlp": self.d_mlp or None})
        return made

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def is_native(config: dict[str, Any]) -> bool:
    return config.get("architectures") == [ARCHITECTURE]


def save_native(model: nn.Module, shape: NativeShape, directory: Path, dtype: torch.dtype) -> None:
    tensors = {name: value.detach().to(dtype).contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    config = {"architectures": [ARCHITECTURE], "dtype": str(dtype).removeprefix("torch."), **asdict(shape)}
    (directory / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def load_native(directory: Path, config: dict[str, Any], dtype: torch.dtype) -> tuple[nn.Module, NativeShape]:
    """The model of a directory; `DamagedModelError` if configuration and weights do not fit each other."""
    fields = {name: value for name, value in config.items() if name in NativeShape.__dataclass_fields__}
    try:
        shape = NativeShape(**fields)
        model = with_weights(shape, load_file(directory / "model.safetensors"), dtype)
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise DamagedModelError(f"{directory} cannot be loaded as a {ARCHITECTURE}: {error}") from error
    return model, shape


def with_weights(shape: NativeShape, weights: dict[str, Tensor], dtype: torch.dtype) -> nn.Module:
    """A model of this shape with these weights, ready to be run; every weight must be there, and no other."""
    model = shape.make().to(dtype)
    model.load_state_dict({name: value.to(dtype) for name, value in weights.items()})
    return model.eval().requires_grad_(False)


def describe_native(key: str, source: str, model: nn.Module, shape: NativeShape, weight_hash: str) -> ModelInfo:
    parameter = next(model.parameters())
    return ModelInfo(
        key=key.strip(), source=source, architecture=ARCHITECTURE, n_layers=shape.n_layers, n_heads=shape.n_heads,
        n_kv_heads=shape.n_heads, d_model=shape.d_model, d_head=shape.d_head, d_mlp=shape.d_mlp,
        vocab_size=shape.d_vocab, n_ctx=shape.n_ctx, n_parameters=sum(each.numel() for each in model.parameters()),
        dtype=str(parameter.dtype).removeprefix("torch."), device=str(parameter.device), weight_hash=weight_hash,
        config_hash=shape.digest,
    )  # fmt: skip
