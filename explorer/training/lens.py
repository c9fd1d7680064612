"""Training of a tuned lens.

    loss = mean over layers and tokens of  KL( output ‖ LN_f(h + L R h + s b) W_U )        (Belrose et al. 2023, eq. 6)

The teacher is the model's own output.  L and b begin at zero, so the first lens is the logit lens; s is the size (root
mean square) of the layer's stream, so that one learning rate serves all layers.  The model is never changed.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm.auto import tqdm

from explorer.core.errors import TrainingError
from explorer.engine.edits import Tape
from explorer.engine.forward import norm, soft_cap
from explorer.engine.model import Model
from explorer.models.catalog import CATALOG, WheelModel
from explorer.models.decoder import Decoder
from explorer.models.info import Progress
from explorer.models.tuned_lens import TunedLens, own_path, write_lens
from explorer.training.optimise import Training, restore, save, take_step
from explorer.training.recipes import LensRecipe, digest_of
from explorer.training.texts import rows_for

CHECKPOINT = "lens-checkpoint.safetensors"
SAVE_EVERY = 20
HELD_OUT = 12
"""One text in so many is held out."""
Streams = list[Float[Tensor, "token d_model"]]


class Translators(nn.Module):
    """The lens's parameters, in units of each layer's stream."""

    def __init__(self, sizes: list[float], d_model: int, rank: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.sizes = sizes
        n = len(sizes)
        self.left = nn.ParameterList([nn.Parameter(torch.zeros(d_model, rank)) for _ in range(n)])
        self.right = nn.ParameterList(
            [nn.Parameter(torch.randn(rank, d_model, generator=generator) / d_model**0.5) for _ in range(n)]
        )
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(d_model)) for _ in range(n)])

    def forward(self, layer: int, stream: Float[Tensor, "token d_model"]) -> Float[Tensor, "token d_model"]:
        left, right, bias = self.left[layer], self.right[layer], self.bias[layer]
        read: Tensor = stream + (stream @ right.T) @ left.T + bias * self.sizes[layer]
        return read

    def lens(self, record: dict[str, Any]) -> TunedLens:
        left, right = (torch.stack([part.detach() for part in parts]) for parts in (self.left, self.right))
        bias = torch.stack([size * part.detach() for size, part in zip(self.sizes, self.bias, strict=True)])
        return TunedLens(left, right, bias, record)


def lens_recipe(model: Model, steps: int | None = None, rank: int | None = None) -> LensRecipe:
    """The recipe of a model's lens: of full rank for models up to 256 wide, of rank 128 above."""
    info = model.info
    rank = rank or (info.d_model if info.d_model <= 256 else 128)
    if not 1 <= rank <= info.d_model:
        raise TrainingError(f"A translator of {info.title} has a rank from 1 to {info.d_model}; got {rank}.")
    if steps is not None and steps < 1:
        raise TrainingError(f"A training takes at least one step; got {steps}.")
    row = min(LensRecipe.row, info.n_ctx)
    return LensRecipe(info.key, rank, steps or LensRecipe.steps, row=row)


def train_lens(
    model: Model,
    recipe: LensRecipe,
    directory: Path | None = None,
    text: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train a lens, measure it on held-out text and write it; goes on from a checkpoint that lies in the directory.

    Without a directory it goes where the Lens page looks for it.  Returns the file.
    Raises `BridgeError`, `TrainingError` (text that cannot be read, a checkpoint of another recipe), `LensError`.
    """
    path = own_path(model.info) if directory is None else directory / own_path(model.info).name
    if (path.parent / "config.json").exists():
        raise TrainingError(
            f"{path.parent} is a model's directory; a lens there would count as its weights. Choose another."
        )
    checkpoint = path.with_name(CHECKPOINT)
    decoder = decoder_of(model)
    with tqdm(total=recipe.steps, desc=f"tuned lens of {model.info.title}", disable=None, unit="step") as bar:
        tell = progress or (lambda fraction, stage: bar.set_postfix_str(stage))
        source, rows = rows_for(model, text, recipe.rows, recipe.row, recipe.seed, tell)
        held = rows[-max(1, len(rows) // HELD_OUT) :]
        rows = rows[: len(rows) - len(held)]
        training = begin(model, recipe, rows)
        if checkpoint.is_file():
            restore(training, checkpoint)
        bar.update(training.step)
        while training.step < recipe.steps:
            loss = advance(model, decoder, training, rows)
            bar.update()
            tell(training.step / recipe.steps, f"KL {loss:.3f} nats")
            if training.step % SAVE_EVERY == 0:
                checkpoint.parent.mkdir(parents=True, exist_ok=True)
                save(training, checkpoint)
    write_lens(finished(model, decoder, training, source, rows, held), path)
    checkpoint.unlink(missing_ok=True)
    return path


def decoder_of(model: Model) -> Decoder:
    if model.info.n_layers < 2:
        raise TrainingError(f"{model.info.title} has one layer: after it the logit lens is the output already.")
    return model.decoder("Training a lens")


def begin(model: Model, recipe: LensRecipe, rows: Int[Tensor, "row pos"]) -> Training:
    streams, _ = streams_of(model, rows[: recipe.batch])
    sizes = [float(stream.square().mean(1).sqrt().median()) for stream in streams]
    network = Translators(sizes, model.info.d_model, recipe.rank, recipe.seed)
    matrices = [*network.left, *network.right]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=recipe.muon_lr, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(network.bias, lr=recipe.adam_lr, weight_decay=0.0),
    ]
    return Training(recipe, network, lambda tokens: tokens, optimisers)


def streams_of(model: Model, rows: Int[Tensor, "row pos"]) -> tuple[Streams, Float[Tensor, "token vocab"]]:
    """The stream after every layer but the last, and the model's logits; rows end to end."""
    tape = Tape((), ("resid_post",))
    final = model.runtime.run(rows.to(model.info.device), tape)
    kept = tape.kept["resid_post"]
    streams = [kept[layer].flatten(0, 1).float() for layer in range(model.info.n_layers - 1)]
    return streams, model.unembed(final.flatten(0, 1)).float()


class CrossEntropy:
    """−Σ teacher · log LN_f(stream) W_U over the vocabulary, and its gradient, in buffers that every layer uses again.

    The large products are in bfloat16.  Autograd would hold several [token, vocab] arrays a layer; the gradient of the
    logits is simply softmax − teacher.
    """

    def __init__(self, decoder: Decoder, teacher: Float[Tensor, "token vocab"]) -> None:
        self.decoder, self.teacher = decoder, teacher
        self.weight = decoder.unembed.weight.bfloat16()
        self.logits = torch.empty_like(teacher)
        self.half = torch.empty_like(teacher, dtype=torch.bfloat16)

    def backward(self, stream: Float[Tensor, "token d_model"], share: float) -> float:
        """Mean over tokens; adds `share` of its gradient to what the stream depends on."""
        decoder, logits = self.decoder, self.logits
        read = norm(stream.to(decoder.unembed.weight.dtype), decoder.norm_final)
        torch.mm(read.detach().bfloat16(), self.weight.T, out=self.half)
        logits.copy_(self.half)
        if decoder.unembed.bias is not None:
            logits += decoder.unembed.bias
        slope = None
        if decoder.logit_softcap is not None:
            logits.copy_(soft_cap(logits, decoder.logit_softcap))
            slope = 1 - (logits / decoder.logit_softcap) ** 2
        torch.log_softmax(logits, -1, out=logits)
        loss = -float(torch.vdot(self.teacher.flatten(), logits.flatten())) / len(logits)
        logits.exp_().sub_(self.teacher).mul_(share / len(logits))
        if slope is not None:
            logits *= slope
        torch.autograd.backward(read, (self.half.copy_(logits) @ self.weight).to(read))
        return loss


def advance(model: Model, decoder: Decoder, training: Training, rows: Int[Tensor, "row pos"]) -> float:
    """One step on the rows of its number; KL in nats, mean over layers and tokens."""
    recipe = training.recipe
    assert isinstance(recipe, LensRecipe)
    generator = torch.Generator().manual_seed((recipe.seed << 32) + training.step)
    batch = rows[torch.randint(len(rows), (recipe.batch,), generator=generator)]

    def backward() -> float:
        streams, logits = streams_of(model, batch)
        teacher = logits.softmax(-1)
        entropy = -float((teacher * logits.log_softmax(-1)).sum(-1).mean())
        cross = CrossEntropy(decoder, teacher)
        found = [
            cross.backward(training.network(layer, stream), 1 / len(streams)) for layer, stream in enumerate(streams)
        ]
        return sum(found) / len(found) - entropy

    return take_step(training, backward)


def kl_by_layer(
    model: Model, rows: Int[Tensor, "row pos"], translate: Callable[[int, Tensor], Tensor]
) -> Iterator[float]:
    """Mean KL(output ‖ lens) after each layer, in nats, in the model's own precision."""
    totals = torch.zeros(model.info.n_layers - 1, dtype=torch.float64)
    dtype: torch.dtype = getattr(torch, model.info.dtype)
    for row in torch.split(rows, 1):
        streams, logits = streams_of(model, row)
        output = logits.log_softmax(-1)
        for layer, stream in enumerate(streams):
            lens = model.unembed(translate(layer, stream).to(dtype)).float().log_softmax(-1)
            totals[layer] += float((output.exp() * (output - lens)).sum(-1).mean())
    return iter((totals / len(rows)).tolist())


def finished(
    model: Model,
    decoder: Decoder,
    training: Training,
    source: str,
    rows: Int[Tensor, "row pos"],
    held: Int[Tensor, "held_row pos"],
) -> TunedLens:
    """The lens with its record, measured on the held-out texts."""
    recipe, network, info = training.recipe, training.network, model.info
    assert isinstance(recipe, LensRecipe) and isinstance(network, Translators)
    exact = network.lens({})
    left, right, bias = (part.half().float() for part in (exact.left, exact.right, exact.bias))
    rounded = TunedLens(left, right, bias, {})
    record = {
        "model": info.key if not isinstance(CATALOG.get(info.key), WheelModel) else info.title,
        "weight_hash": info.weight_hash,
        "digest": digest_of(recipe),
        "rank": recipe.rank,
        "steps": training.step,
        "tokens": training.step * recipe.batch * rows.shape[1],
        "distinct_tokens": rows.numel(),
        "text": source,
        "seed": recipe.seed,
        "cpu_minutes": round(training.cpu_seconds / 60, 1),
        "held_out_tokens": held.numel(),
        "kl_logit": [round(value, 4) for value in kl_by_layer(model, held, lambda layer, stream: stream)],
        "kl_tuned": [round(value, 4) for value in kl_by_layer(model, held, rounded.translate)],
    }
    return replace(rounded, record=record)
