"""The training loop: Muon for the matrices of the blocks, AdamW for all else; checkpoints in safetensors, never pickle."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from explorer.core.errors import TrainingError
from explorer.training.recipes import AnyRecipe, DictionaryRecipe, LensRecipe, Recipe

Logits = Callable[[Tensor], Tensor]
CLOSING_RATE = 0.3
CLIP = 1.0
"""Largest norm of a step's gradient."""


@dataclass
class Training:
    """A model on its way: what a checkpoint holds."""

    recipe: AnyRecipe | LensRecipe | DictionaryRecipe
    network: nn.Module
    logits: Logits
    optimisers: list[torch.optim.Optimizer]
    step: int = 0
    cpu_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


def begin(recipe: Recipe, network: nn.Module, logits: Logits) -> Training:
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        in_block = parameter.ndim == 2 and (".h." in name or name.startswith("layers."))
        (matrices if in_block else others).append(parameter)
    return Training(
        recipe,
        network,
        logits,
        [
            torch.optim.Muon(matrices, lr=recipe.muon_lr, momentum=0.95, weight_decay=0.02),
            torch.optim.AdamW(others, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.0),
        ],
    )


def rate(recipe: AnyRecipe | LensRecipe | DictionaryRecipe, step: int) -> float:
    """Factor of the learning rates: warm-up, flat, then a line down to 2 %; in the closing steps another line, from 0.3."""
    main = recipe.steps - recipe.closing_steps
    if step >= main:
        return max(0.02, CLOSING_RATE * (1 - (step - main) / recipe.closing_steps))
    part = step / main
    falling = 1.0 if part < recipe.decay_from else max(0.02, (1 - part) / (1 - recipe.decay_from))
    return min(1.0, (step + 1) / recipe.warm_up) * falling


def advance(training: Training, rows: Tensor) -> float:
    """One step of a language model; its loss, in nats a token."""

    def loss() -> float:
        with torch.autocast("cpu", torch.bfloat16):
            logits = training.logits(rows[:, :-1])
        found = F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
        torch.autograd.backward(found)
        return found.item()

    return take_step(training, loss)


def take_step(training: Training, backward: Callable[[], float]) -> float:
    """One step: `backward` fills the gradients and gives the loss, which is kept and returned."""
    started = time.process_time()
    factor = rate(training.recipe, training.step)
    for optimiser in training.optimisers:
        optimiser.zero_grad(set_to_none=True)
        for group in optimiser.param_groups:
            group["lr"] = group.setdefault("full_lr", group["lr"]) * factor
    loss = backward()
    nn.utils.clip_grad_norm_(training.network.parameters(), CLIP)
    for optimiser in training.optimisers:
        optimiser.step()
    training.step += 1
    training.cpu_seconds += time.process_time() - started
    training.losses.append(loss)
    return loss


def optimiser_tensors(training: Training) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """A name and the state of every parameter that an optimiser keeps something of."""
    for number, optimiser in enumerate(training.optimisers):
        for group in optimiser.param_groups:
            for place, parameter in enumerate(group["params"]):
                yield f"optimiser.{number}.{place}", optimiser.state[parameter]


def save(training: Training, path: Path) -> None:
    """A checkpoint, replaced in one move."""
    tensors = {f"network.{name}": tensor for name, tensor in training.network.state_dict().items()}
    for prefix, state in optimiser_tensors(training):
        tensors |= {f"{prefix}.{key}": value for key, value in state.items() if isinstance(value, Tensor)}
    tensors["losses"] = torch.tensor(training.losses)
    tensors["cpu_seconds"] = torch.tensor(training.cpu_seconds, dtype=torch.float64)
    # tied and transposed weights share memory, which the format refuses
    own = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    fresh = path.with_suffix(".new")
    save_file(own, fresh, {"step": str(training.step), "recipe": training.recipe.digest})
    fresh.replace(path)


def restore(training: Training, path: Path) -> None:
    """Go on from a checkpoint; `TrainingError` if it is of another recipe."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise TrainingError(f"{path} cannot be read ({error}). Remove it to begin anew.") from error
    found = metadata.get("recipe", "none")
    if found != training.recipe.digest:
        raise TrainingError(
            f"{path} is the checkpoint of another recipe ({found[:12]}…, this one is {training.recipe.digest[:12]}…). "
            "Remove it to begin anew."
        )
    training.step = int(metadata["step"])
    training.losses = tensors.pop("losses").tolist()
    training.cpu_seconds = float(tensors.pop("cpu_seconds"))
    training.network.load_state_dict(
        {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
    )
    for prefix, state in optimiser_tensors(training):
        state.update(
            {
                name.removeprefix(f"{prefix}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{prefix}.")
            }
        )
