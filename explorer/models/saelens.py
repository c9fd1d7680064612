"""The only importer of sae_lens: its dictionaries are read, run and trained by its own code.

sae-lens has no training of transcoders; `transcoder_training` is its BatchTopK training with another target.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from explorer.core.errors import DictionaryError, UnsafeFileError
from explorer.models.files import PICKLES, check_header

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
NORMED = ("constant_norm_rescale", "layer_norm")
"""Normalisations that sae-lens computes from each input, and undoes on its output."""


def read_folder(folder: Path) -> Any:
    """The sae-lens module of a folder with `cfg.json` and `sae_weights.safetensors`, in float32.

    `UnsafeFileError` for weights as pickle, `DictionaryError` for anything else that is no dictionary.
    """
    config = folder / CONFIG
    if not (folder / WEIGHTS).is_file():
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern)) if folder.is_dir() else []
        if pickles:
            raise UnsafeFileError(
                f"{folder} has its weights as pickle ({', '.join(pickles[:3])}), which can run code when opened. "
                f"Only safetensors are read: expected {WEIGHTS}, as sae-lens saves it."
            )
        raise DictionaryError(f"{folder} holds no dictionary: expected {CONFIG} and {WEIGHTS}, as sae-lens saves them.")
    check_header(folder / WEIGHTS)
    try:
        architecture = json.loads(config.read_text(encoding="utf-8")).get("architecture", "standard")
    except (OSError, ValueError, AttributeError) as error:
        raise DictionaryError(f"{config} cannot be read as JSON ({error}).") from error
    with quiet():
        from sae_lens import SAE

        try:
            return SAE.load_from_disk(folder, dtype="float32").eval().requires_grad_(False)
        except Exception as error:  # whatever its many readers raise: the folder is the user's
            raise DictionaryError(
                f"{folder} ({str(architecture)[:40]}) cannot be read by sae-lens: {str(error)[:300]}"
            ) from error


def read_release(release: str, sae_id: str) -> Any:
    """A dictionary of sae-lens' registry or of a hub repository; downloads it.  `UnsafeFileError` for pickles."""
    with quiet():
        from huggingface_hub import list_repo_files
        from sae_lens import SAE
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

        known = get_pretrained_saes_directory().get(release)
        try:
            files = list_repo_files(known.repo_id if known else release)
            inside = (known.saes_map.get(sae_id, sae_id) if known else sae_id).strip("/")
            mine = [name for name in files if name.startswith(inside)]
            unsafe = [name for name in mine if any(Path(name).match(pattern) for pattern in PICKLES)]
            if unsafe:
                raise UnsafeFileError(
                    f"{release}, {sae_id} is saved as pickle ({unsafe[0]}), which can run code when opened. Only safetensors "
                    "and npz are read."
                )
            return SAE.from_pretrained(release, sae_id).eval().requires_grad_(False)
        except UnsafeFileError:
            raise
        except Exception as error:
            raise DictionaryError(
                f"{release!r}, {sae_id!r} cannot be had: {str(error)[:300]} Expected a release of sae-lens or a hub "
                "repository, and the id of one dictionary in it; a folder on this machine needs no network."
            ) from error


def save_folder(sae: Any, folder: Path) -> None:
    """Write a loaded module as sae-lens does."""
    sae.save_model(folder)


def batch_topk(d_in: int, d_out: int | None, n_features: int, k: float, seed: int) -> Any:
    """A BatchTopK dictionary to be trained (Bussmann et al. 2024); with `d_out`, a transcoder.

    It is saved as JumpReLU with one threshold, so each token's features are its own.
    """
    with quiet():
        from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

        torch.manual_seed(seed)
        config = BatchTopKTrainingSAEConfig(
            d_in=d_in, d_sae=n_features, k=k, apply_b_dec_to_input=d_out is None, topk_threshold_lr=0.01
        )
        if d_out is None:
            return BatchTopKTrainingSAE(config)
        return transcoder_training()(config, d_out)


def transcoder_training() -> Any:
    """The class of a transcoder in training: batches are inputs and targets side by side, [token, d_in + d_out]."""
    from sae_lens import BatchTopKTrainingSAE, JumpReLUTranscoderConfig
    from sae_lens.saes.sae import TrainStepInput, TrainStepOutput

    class TranscoderTraining(BatchTopKTrainingSAE):  # type: ignore[misc]
        def __init__(self, config: Any, d_out: int) -> None:
            super().__init__(config)
            self.d_out = d_out
            directions = torch.randn(config.d_sae, d_out)
            self.W_dec = torch.nn.Parameter(0.1 * directions / directions.norm(dim=-1, keepdim=True))
            self.b_dec = torch.nn.Parameter(torch.zeros(d_out))

        def training_forward_pass(self, step_input: TrainStepInput) -> TrainStepOutput:
            source, target = step_input.sae_in.split([self.cfg.d_in, self.d_out], -1)
            feature_acts, hidden_pre = self.encode_with_hidden_pre(source)
            out = self.decode(feature_acts)
            mse = self.mse_loss_fn(out, target).sum(-1).mean()
            spare = self.calculate_topk_aux_loss(target, out, hidden_pre, step_input.dead_neuron_mask)
            self.update_topk_threshold(feature_acts)
            losses = {"mse_loss": mse, "auxiliary_reconstruction_loss": spare}
            return TrainStepOutput(target, out, feature_acts, hidden_pre, mse + spare, losses)

        def inference_config(self, metadata: dict[str, Any]) -> dict[str, Any]:
            config = JumpReLUTranscoderConfig(
                d_in=self.cfg.d_in, d_sae=self.cfg.d_sae, d_out=self.d_out, apply_b_dec_to_input=False
            )
            return {**config.to_dict(), "metadata": metadata}

    return TranscoderTraining


def step_input(batch: Tensor, dead: Tensor, step: int) -> Any:
    from sae_lens.saes.sae import TrainStepInput

    return TrainStepInput(batch, {}, dead, step, False)


def write_trained(
    sae: Any, folder: Path, scales: tuple[float, float], metadata: dict[str, Any], dtype: torch.dtype
) -> None:
    """The trained dictionary as sae-lens reads it: JumpReLU with its threshold, decoder rows of length 1.

    `scales`: by what its inputs and its targets were multiplied in training; both are folded into the weights.
    """
    from sae_lens import __version__
    from safetensors.torch import save_file

    metadata = metadata | {"sae_lens_version": __version__}
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().clone() for name, tensor in sae.state_dict().items()}
    norms = sae.W_dec.detach().norm(dim=-1)
    threshold = float(state.pop("topk_threshold"))
    inference = {
        "W_enc": state["W_enc"] * norms * scales[0],
        "b_enc": state["b_enc"] * norms,
        "W_dec": state["W_dec"] / norms[:, None] / scales[1],
        "b_dec": state["b_dec"] / scales[1],
        "threshold": torch.full_like(state["b_enc"], threshold),
    }
    unit = inference["W_dec"].norm(dim=-1)  # activations in units of the stream: decoder rows of length 1
    inference["W_enc"] *= unit
    inference["b_enc"] *= unit
    inference["threshold"] *= unit
    inference["W_dec"] /= unit[:, None]
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in inference.items()}, folder / WEIGHTS)
    if hasattr(sae, "inference_config"):
        config = sae.inference_config(metadata)
    else:
        config = sae.cfg.get_inference_sae_cfg_dict() | {"metadata": metadata}
    config |= {"dtype": str(dtype).removeprefix("torch."), "device": "cpu"}
    (folder / CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")


@contextmanager
def quiet() -> Iterator[None]:
    """sae-lens and what it imports talk, warn and configure logging; that is not for a user's console."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
