"""The files of the trained models, inside the package."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from explorer.core.errors import DamagedModelError, ModelNotFoundError
from explorer.models.files import check_header

FILES = Path(__file__).parent / "files"
DIFFERENCE = "difference.safetensors"
"""Of a fine-tuned variant: factors `NAME.left` [in, rank] and `NAME.right` [rank, out] of what is added to weight NAME."""


def shipped_directory(key: str) -> Path:
    directory = FILES / key
    if not directory.is_dir():
        raise ModelNotFoundError(f"{key} is not in this installation. Train it: circuit-explorer train {key}")
    return directory


def add_difference(model: Any, key: str) -> Path:
    """Turn the base model into its variant; the file that was read."""
    path = shipped_directory(key) / DIFFERENCE
    check_header(path)
    factors = load_file(path)
    weights = dict(model.named_parameters())
    names = sorted({name.rpartition(".")[0] for name in factors})
    unknown = [name for name in names if name not in weights]
    if unknown:
        raise DamagedModelError(f"{path} changes {unknown[0]}, which its base model does not have.")
    with torch.no_grad():
        for name in names:
            change = factors[f"{name}.left"].float() @ factors[f"{name}.right"].float()
            weights[name] += change.to(weights[name].dtype)
    return path
