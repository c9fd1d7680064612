"""From a name to weights in memory: catalog key, directory or hub id, all through `load_weights`."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch

from explorer.core.errors import DamagedModelError, ModelError
from explorer.models import files, gguf, hub, wheel
from explorer.models.catalog import CATALOG, ExactRow, TrainedModel, WheelModel
from explorer.models.info import LoadedWeights, ModelInfo, Progress
from explorer.models.native import describe_native, is_native, load_native
from explorer.models.zoo.shipped import add_difference, base_directory, shipped_directory

DType = Literal["float32", "float64", "bfloat16", "float16"]


def resolve(source: str, progress: Progress, download: bool) -> Path:
    """Directory of a catalog key, a local directory or GGUF file, or a hub id (in this order)."""
    name = source.strip()
    if not name:
        raise ModelError(f"No model was named. Known: {', '.join(CATALOG)}; or a directory, or a hub id.")
    match CATALOG.get(name):
        case WheelModel() as row:
            return wheel.converted(row, progress)
        case TrainedModel() as row:
            return shipped_directory(row.key)
    path = Path(name).expanduser()
    if len(name) > 1000 or "\0" in name:
        raise ModelError(f"{name[:40]!r}… ({len(name):,} characters) is no name of a model.")
    if path.is_file() and path.suffix == ".gguf":
        return gguf.converted(path, progress)
    if path.is_file():
        raise ModelError(f"{path} is a file. Give a .gguf file, or the directory with config.json and *.safetensors.")
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(f"There is no directory {path}.")
    return hub.fetch(name, progress, download)


def load_weights(source: str, dtype: DType, device: str, progress: Progress, download: bool = True) -> LoadedWeights:
    """Load and check a model: readable files, every weight present and finite, a tokenizer that works."""
    row = CATALOG.get(source.strip())
    if isinstance(row, ExactRow):
        from explorer.models.zoo.exact.loading import load_exact

        return load_exact(row.key, getattr(torch, dtype), device)
    directory = resolve(source, progress, download)
    base = base_directory(directory)
    paths = files.weight_files(base)
    progress(0.3, "Loading weights")
    config = read_config(base)
    if is_native(config):
        native, shape = load_native(base, config, getattr(torch, dtype))
        check_finite(native.to(device), base)
        info = describe_native(source, str(base), native, shape, files.sha256(paths))
        return LoadedWeights(native, read_tokenizer(base), info)
    hf_model = read_model(base, dtype)
    if base != directory:
        paths.append(add_difference(hf_model, directory))
    hf_model.to(device)
    progress(0.7, "Checking weights")
    check_finite(hf_model, directory)
    return LoadedWeights(hf_model, read_tokenizer(base), describe(source, directory, hf_model, files.sha256(paths)))


def read_config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / "config.json").read_text())
    except ValueError as error:
        raise DamagedModelError(f"{directory / 'config.json'} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise DamagedModelError(f"{directory / 'config.json'} holds {type(config).__name__}, not a JSON object.")
    return config


def read_model(directory: Path, dtype: DType) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except Exception as error:  # the library raises a dozen kinds for one broken directory
        raise DamagedModelError(f"{directory} cannot be loaded as a causal language model: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise DamagedModelError(
            f"{directory} lacks {len(missing)} weights of {type(model).__name__} (first: {missing[0]}). "
            "Fetch or convert the model again."
        )
    return model.eval().requires_grad_(False)


def read_tokenizer(directory: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise DamagedModelError(f"{directory} has no tokenizer that can be read: {error}") from error


def check_finite(hf_model: Any, directory: Path) -> None:
    for name, parameter in hf_model.named_parameters():
        if not torch.isfinite(parameter).all():
            bad = int((~torch.isfinite(parameter)).sum())
            raise DamagedModelError(
                f"{directory}: weight {name} has {bad:,} values that are not finite (NaN or infinite)."
            )


def describe(key: str, directory: Path, hf_model: Any, weight_hash: str) -> ModelInfo:
    config = hf_model.config.get_text_config()
    n_heads, d_model = config.num_attention_heads, config.hidden_size
    return ModelInfo(
        key=key.strip(),
        source=str(directory),
        architecture=type(hf_model).__name__,
        n_layers=config.num_hidden_layers,
        n_heads=n_heads,
        n_kv_heads=getattr(config, "num_key_value_heads", None) or n_heads,
        d_model=d_model,
        d_head=getattr(config, "head_dim", None) or d_model // n_heads,
        d_mlp=mlp_width(config),
        vocab_size=config.vocab_size,
        n_ctx=config.max_position_embeddings,
        n_parameters=sum(parameter.numel() for parameter in hf_model.parameters()),
        dtype=str(hf_model.dtype).removeprefix("torch."),
        device=str(hf_model.device),
        weight_hash=weight_hash,
        config_hash=config_hash(hf_model.config),
        parallel=bool(getattr(config, "use_parallel_residual", False) or getattr(config, "parallel_attn", False)),
        heads_add_up=not any(name.endswith("post_feedforward_layernorm") for name, _ in hf_model.named_modules()),
    )


def mlp_width(config: Any) -> int:
    """Neurons of an MLP: the field that a family calls by one of three names, or GPT-2's default of 4 d_model."""
    names = ("intermediate_size", "n_inner", "ffn_dim")
    return next((int(width) for name in names if (width := getattr(config, name, None))), 4 * int(config.hidden_size))


def config_hash(config: Any) -> str:
    """SHA-256 of a configuration, wherever its file lies and whichever version wrote it."""
    named = {
        key: value for key, value in config.to_dict().items() if key not in ("_name_or_path", "transformers_version")
    }
    return hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode()).hexdigest()
