"""Contrast pairs under masks of edges: groups of one length, chunks that fit a budget of memory, runs that are kept for the next mask."""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explorer.core.errors import CircuitError
from explorer.core.pairs import ContrastPair
from explorer.engine.contrasts import Contrast, contrasts, difference
from explorer.engine.edges import EdgeMode, graph_of, mean_writes
from explorer.engine.interventions import AblationKind, Stack
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.engine.sweep_plan import PROMPTS_AT_ONCE, free_memory
from explorer.prompts.tokens import Bos

StackOf = Callable[[ContrastPair], Stack]
KEEP_AT_MOST = 1 << 30
"""Bytes of runs that are kept for the next mask."""
CHUNK_ROWS = 256 << 20
"""Bytes of the changes of one forward pass: more is not faster."""
COPIES = 2.5
"""Memory of a forward pass over that of its changes, measured."""


class CircuitRuns:
    """Pairs ready to be run under any masks; any number of threads may use one."""

    def __init__(
        self,
        model: Model,
        pairs: ContrastPair | Sequence[ContrastPair],
        stack: StackOf | None = None,
        bos: Bos = "default",
        budget: int | None = None,
    ) -> None:
        """Checks the pairs and the stack; nothing is run yet.

        Args:
            stack: interventions of a pair, on both of its prompts; None for none.
            budget: bytes; None for a quarter of the free memory.

        Raises `PairError`, `AnswerError`, `PromptError`; `BridgeError` on the bridge.
        """
        self.model, self.bos = model, bos
        self.pairs = (pairs,) if isinstance(pairs, ContrastPair) else tuple(pairs)
        self.graph = graph_of(model)
        made = contrasts(model, self.pairs, () if stack is None else lambda pair, side: stack(pair), bos)
        self.contrasts: list[Contrast] = made
        self.budget = free_memory(model) // 4 if budget is None else budget
        self.chunks = self.chunked(alone=len({each.clean.stack for each in made}) > 1)
        self.lock = threading.Lock()
        self.modes: OrderedDict[object, tuple[EdgeMode, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.contrasts)

    @property
    def lengths(self) -> list[int]:
        return sorted({len(each.clean.tokens) for each in self.contrasts})

    def chunked(self, alone: bool) -> list[list[int]]:
        """Numbers of pairs that run together: of one length; each alone under stacks that differ from pair to pair."""
        lengths: dict[int, list[int]] = defaultdict(list)
        for number, each in enumerate(self.contrasts):
            lengths[len(each.clean.tokens)].append(number)
        size = 1 if alone else PROMPTS_AT_ONCE
        found = []
        for length, numbers in sorted(lengths.items()):
            fits = max(1, min(size, int(self.budget / 4 / self.row_bytes(length))))
            found += [numbers[first : first + fits] for first in range(0, len(numbers), fits)]
        return found

    def row_bytes(self, length: int) -> int:
        """Bytes of what all writers write on one prompt."""
        return len(self.graph.writers) * length * self.model.info.d_model * self.model.unit_bytes

    def read(self, chunk: Sequence[int]) -> Tensor:
        """Ids of answer and distractor, [pair, 2]."""
        return torch.tensor([self.contrasts[number].read for number in chunk])

    def mode(self, chunk: Sequence[int], ablation: AblationKind = "resample", reverse: bool = False) -> EdgeMode:
        """Edge mode on some pairs, made or kept."""
        key = (tuple(chunk), ablation, reverse)
        with self.lock:
            if key in self.modes:
                self.modes.move_to_end(key)
                return self.modes[key][0]
        made = self.make(chunk, ablation, reverse)
        size = made.base.nbytes
        with self.lock:
            self.modes[key] = made, size
            while sum(bytes_ for _, bytes_ in self.modes.values()) > min(KEEP_AT_MOST, self.budget // 2):
                self.modes.popitem(last=False)
        return made

    def make(self, chunk: Sequence[int], ablation: AblationKind, reverse: bool) -> EdgeMode:
        members = [self.contrasts[number] for number in chunk]
        clean, corrupt = [each.clean.tokens for each in members], [each.corrupt.tokens for each in members]
        if reverse:
            clean, corrupt = corrupt, clean
        means = self.means(len(clean[0])) if ablation == "mean" else None
        return EdgeMode(self.model, clean, corrupt, members[0].clean.stack, ablation, means)

    def means(self, length: int) -> Float[Tensor, "writer pos d_model"]:
        """Mean writes over all prompts of one length, clean and corrupt."""
        sides = [side.tokens for each in self.contrasts for side in (each.clean, each.corrupt)]
        same = [tokens for tokens in sides if len(tokens) == length]
        key = ("mean_writes", self.graph, tuple(tuple(tokens.ids) for tokens in same))
        found: Tensor = self.model.remember(key, lambda: mean_writes(self.model, same), lambda made: made.nbytes)
        return found

    @torch.no_grad()
    def objective(
        self,
        masks: Float[Tensor, "mask reader writer ..."],
        ablation: AblationKind = "resample",
        reverse: bool = False,
        cancelled: Callable[[], bool] = never,
        chunk_positions: int | None = None,
    ) -> Float[np.ndarray, "mask pair"]:
        """logit(answer) − logit(distractor) of every pair under every mask; NaN where it was cancelled.

        Args:
            ablation: what edges carry that a mask does not keep.
            reverse: the corrupt prompt is run, and what is not kept comes from the clean one.
            chunk_positions: positions of one forward pass, for work that gives way; None for what memory allows.
        """
        if masks.ndim == 4 and len(self.lengths) > 1:
            raise CircuitError(
                f"A circuit by position needs prompts of one length; these have {', '.join(map(str, self.lengths))} tokens."
            )
        found = np.full((len(masks), len(self)), np.nan)
        for chunk in self.chunks:
            if cancelled():
                return found
            mode = self.mode(chunk, ablation, reverse)
            read = self.read(chunk).to(self.model.info.device)
            at_once = self.masks_at_once(mode, chunk_positions)
            for first in range(0, len(masks), at_once):
                if cancelled():
                    return found
                logits = mode.logits(masks[first : first + at_once].to(self.model.info.device), read)
                found[first : first + at_once, chunk] = difference(logits).cpu().numpy()
        return found

    def masks_at_once(self, mode: EdgeMode, chunk_positions: int | None) -> int:
        """How many masks one forward pass takes."""
        row = mode.base.writes.nbytes
        fits = int(min(CHUNK_ROWS, self.budget / 2 / COPIES) // row)
        if chunk_positions is not None:
            fits = min(fits, chunk_positions // (len(mode.clean) * mode.base.final.shape[1]))
        return max(1, fits)

    def ends(self) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
        """The objective of every clean and of every corrupt run, under the stack."""
        full, none = self.objective(torch.stack([self.graph.exists.float(), torch.zeros(self.graph.exists.shape)]))
        return full, none
