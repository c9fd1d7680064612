"""The files of the trained models, inside the package."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from explorer.core.errors import DamagedModelError, ModelNotFoundError
from explorer.models.files import check_header, sha256

FILES = Path(__file__).parent / "files"
DIFFERENCE = "difference.safetensors"
"""Of a fine-tuned variant: factors `NAME.left` [in, rank] and `NAME.right` [rank, out] of what is added to weight NAME."""


def shipped_directory(key: str) -> Path:
    directory = FILES / key
    if not key or not directory.is_dir():
        raise ModelNotFoundError(f"{key} is not in this installation. Train it: circuit-explorer train {key}")
    return directory


def weight_hash(directory: Path) -> str:
    """SHA-256 of a shipped model's weights: to which of them a variant's change belongs."""
    return sha256(sorted(directory.glob("*.safetensors")))


def base_directory(directory: Path) -> Path:
    """Where a model's own weights lie: for a variant, the model that it is a change of."""
    path = directory / DIFFERENCE
    if not path.is_file():
        return directory
    check_header(path)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    base = shipped_directory(metadata.get("base", ""))
    found = weight_hash(base)
    if found != metadata.get("base_hash"):
        raise DamagedModelError(
            f"{path} is a change of {metadata.get('base')} with weights {str(metadata.get('base_hash'))[:12]}…; those here are "
            f"{found[:12]}…. Train it again: circuit-explorer train {directory.name}"
        )
    return base


def add_difference(model: Any, directory: Path) -> Path:
    """Turn the base model into its variant; the file that was read."""
    path = directory / DIFFERENCE
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
