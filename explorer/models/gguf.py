"""GGUF files: de-quantised once by Hugging Face, kept as float16 safetensors in the cache directory.

1. The file's SHA-256 names it; for the catalog's files it must be the catalog's.
2. Weights go to float16, with tokenizer and config, into a folder beside the target, which is moved into place in one step.
3. `made.json` holds the hash of what was written.  A folder whose weights no longer match is converted again.
"""

import json
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from explorer.core.errors import DamagedModelError
from explorer.models.cache import cache_directory
from explorer.models.files import sha256
from explorer.models.info import Progress

WEIGHTS, RECORD = "model.safetensors", "made.json"


def converted(gguf: Path, progress: Progress) -> Path:
    """Directory of a user's own GGUF file, made on first use."""
    progress(0.02, f"Reading {gguf.name}")
    return make_once(gguf, cache_directory() / f"gguf-{sha256([gguf])[:16]}", progress)


def make_once(gguf: Path, folder: Path, progress: Progress) -> Path:
    """The folder with the converted model; one process at a time makes it."""
    if not is_intact(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not is_intact(folder):
                make(gguf, folder, progress)
    return folder


def is_intact(folder: Path) -> bool:
    """Whether the folder holds the weights that its record names, byte for byte."""
    try:
        made = json.loads((folder / RECORD).read_text())
        return bool(made["weights_sha256"] == sha256([folder / WEIGHTS]))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def make(gguf: Path, folder: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        convert(gguf, Path(scratch), progress)
        record = {"from": gguf.name, "weights_sha256": sha256([Path(scratch) / WEIGHTS])}
        (Path(scratch) / RECORD).write_text(json.dumps(record, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scratch, folder)
    progress(1.0, "Converted")


def convert(gguf: Path, target: Path, progress: Progress) -> None:
    """Write a GGUF file as a Hugging Face directory with float16 safetensors."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    progress(0.05, "De-quantising, once")
    try:
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        progress(0.7, "Reading the tokenizer")
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except Exception as error:  # the reader raises a dozen kinds for one broken file
        raise DamagedModelError(f"{gguf} cannot be read as a GGUF language model: {error}") from error
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
