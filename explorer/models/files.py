"""Which files make a model, and which are refused.

Only safetensors (and GGUF, through `wheel.py`) are read: a pickle can run code when it is opened.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from explorer.core.errors import DamagedModelError, ModelError, UnsafeFileError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a model directory, checked for readable headers."""
    if not (directory / "config.json").is_file():
        found = ", ".join(sorted(path.name for path in directory.iterdir())[:6]) or "nothing"
        raise ModelError(
            f"{directory} is no model directory: it has no config.json (found: {found}). "
            "Expected config.json, *.safetensors and tokenizer files, as `save_pretrained` writes them."
        )
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        pickles = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
        if pickles:
            raise UnsafeFileError(
                f"{directory} has its weights as pickle ({', '.join(pickles[:3])}), which can run code when opened. "
                "Only safetensors are read: convert it with `save_pretrained(..., safe_serialization=True)`."
            )
        raise ModelError(f"{directory} has a config.json but no *.safetensors file with weights.")
    for path in files:
        check_header(path)
    return files


def check_header(path: Path) -> None:
    """`DamagedModelError` unless the file opens as safetensors with its full length."""
    try:
        with safe_open(path, framework="numpy") as tensors:
            tensors.keys()
    except (SafetensorError, OSError) as error:
        raise DamagedModelError(
            f"{path} cannot be read as safetensors ({error}). Fetch or convert the model again."
        ) from error


def sha256(paths: Sequence[Path]) -> str:
    """SHA-256 over the bytes of the files, in the order given."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()
