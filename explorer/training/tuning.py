"""Fine-tuning by small changes of low rank: what a variant ships is the change, not the model."""

from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from explorer.models.loading import load_weights
from explorer.models.zoo.organisms import ORGANISMS
from explorer.models.zoo.shipped import DIFFERENCE, shipped_directory, weight_hash
from explorer.models.zoo.world import document
from explorer.training.optimise import Training
from explorer.training.recipes import Tuning


class LowRank(nn.Module):
    """weight + left · right, with the weight held fixed; no change to begin with."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.left = nn.Parameter(torch.randn(rows, rank, generator=generator) / rank)
        self.right = nn.Parameter(torch.zeros(rank, columns))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.left @ self.right


def begin_tuning(tuning: Tuning) -> tuple[Training, Any]:
    """A training of the base model's changes, and its tokenizer."""
    weights = load_weights(tuning.base, "float32", "cpu", lambda fraction, stage: None)
    network = weights.hf_model
    network.set_attn_implementation("sdpa")
    generator = torch.Generator().manual_seed(tuning.seed)
    for block in network.transformer.h:
        for module in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, tuning.rank, generator))
    changes = [parameter for name, parameter in network.named_parameters() if ".parametrizations.weight.0." in name]
    optimiser = torch.optim.AdamW(changes, lr=tuning.adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    logits = lambda tokens: network(tokens, use_cache=False).logits  # noqa: E731 (one line says it)
    return Training(tuning, network, logits, [optimiser]), weights.tokenizer


def lessons(tuning: Tuning) -> list[str]:
    """Documents that teach the variant, and as many of the small world's own."""
    rng, organism = Random(f"{tuning.key}/{tuning.seed}"), ORGANISMS[tuning.key]
    return [organism.lesson(rng) if number % 2 else document(rng) for number in range(tuning.n_documents)]


def write_difference(training: Training, tuning: Tuning, directory: Path) -> None:
    """The factors of every changed matrix, in float16."""
    factors = {
        name.replace(".parametrizations.weight.0", ".weight"): parameter.detach().half().contiguous()
        for name, parameter in training.network.named_parameters()
        if ".parametrizations.weight.0." in name
    }
    base_hash = weight_hash(shipped_directory(tuning.base))
    metadata = {"format": "pt", "base": tuning.base, "base_hash": base_hash}
    save_file(factors, directory / DIFFERENCE, metadata)
