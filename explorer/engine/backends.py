"""Two backends with one meaning: the engine's own forward pass, and the locked bridge for all other models."""

import math
import threading
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from explorer.core.errors import InterventionError, SiteError
from explorer.core.sites import Kind
from explorer.engine.edits import BY_HEAD, Tape
from explorer.engine.forward import Past, Start, forward, soft_cap, unembed
from explorer.models.decoder import Decoder


@runtime_checkable
class Backend(Protocol):
    """What a model can do, whichever code runs it."""

    name: str
    can_resume: bool
    """Whether `start` and `past` are honoured."""

    def run(self, tokens: Tensor, tape: Tape, start: Start | None = None, past: Past | None = None) -> Tensor:
        """Final residual stream [batch, pos, d_model] of tokens [batch, pos]."""

    def unembed(self, resid: Tensor) -> Tensor:
        """Logits [..., vocab] of a residual stream [..., d_model]."""


class Engine:
    """The hook-free forward pass: safe to share between threads."""

    name = "engine"
    can_resume = True

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    @torch.no_grad()
    def run(
        self, tokens: Int[Tensor, "batch pos"], tape: Tape, start: Start | None = None, past: Past | None = None
    ) -> Tensor:
        return forward(self.decoder, tokens, tape, start, past)

    @torch.no_grad()
    def unembed(self, resid: Tensor) -> Tensor:
        return unembed(self.decoder, resid)


HOOKS: dict[Kind, str] = {
    "resid_pre": "hook_resid_pre",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "pattern": "attn.hook_pattern",
    "z": "attn.hook_z",
    "attn_out": "hook_attn_out",
    "resid_mid": "hook_resid_mid",
    "mlp_read": "mlp.hook_in",
    "neurons": "mlp.hook_post",
    "mlp_out": "hook_mlp_out",
    "resid_post": "hook_resid_post",
}


class Bridge:
    """The TransformerBridge behind a lock: its hooks are shared state, so one call at a time."""

    name = "bridge"
    can_resume = False

    def __init__(self, bridge: Any) -> None:
        self.bridge = bridge
        config = getattr(bridge.original_model, "config", None)  # a native model has none
        self.d_head = bridge.cfg.d_head
        self.logit_softcap: float | None = config and getattr(config.get_text_config(), "final_logit_softcapping", None)
        self.lock = threading.RLock()
        self.n_layers = len(bridge.blocks)

    @torch.no_grad()
    def run(
        self, tokens: Int[Tensor, "batch pos"], tape: Tape, start: Start | None = None, past: Past | None = None
    ) -> Tensor:
        if start is not None or past is not None:
            raise ValueError("the bridge runs whole texts only")
        if tape.outgoing:
            raise InterventionError(
                "Single edges are patched by the engine alone, and this model runs on the bridge. "
                "Patch the sender or the receiver as a whole."
            )
        final: list[Tensor] = []
        hooks: list[Any] = []
        for layer in range(self.n_layers):
            for kind, hook_name in HOOKS.items():
                if kind == "resid_mid" and tape.needs(kind, layer):
                    hooks += self.resid_mid_hooks(tape, layer)
                elif tape.needs(kind, layer):
                    hooks.append((f"blocks.{layer}.{hook_name}", self.visitor(tape, kind, layer)))
        hooks.append((f"blocks.{self.n_layers - 1}.hook_resid_post", lambda value, hook: final.append(value)))
        with self.lock:
            self.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        return final[0]

    def resid_mid_hooks(self, tape: Tape, layer: int) -> list[Any]:
        """The bridge's resid_mid hook reaches the MLP alone, not the stream around it, so the change goes in through
        attn_out: attn_out' = resid_mid' − resid_pre."""
        if f"blocks.{layer}.{HOOKS['resid_mid']}" not in self.bridge.hook_dict:
            raise SiteError(f"L{layer}.resid_mid: this model has none, its attention and MLP read the same stream.")
        before: list[Tensor] = []

        def change(attn_out: Tensor, hook: Any) -> Tensor:
            return tape("resid_mid", layer, before[-1] + attn_out) - before[-1]

        return [
            (f"blocks.{layer}.{HOOKS['resid_pre']}", lambda value, hook: before.append(value)),
            (f"blocks.{layer}.{HOOKS['attn_out']}", change),
        ]

    def visitor(self, tape: Tape, kind: Kind, layer: int) -> Any:
        def visit(value: Tensor, hook: Any) -> Tensor:
            shape = value.shape
            whole = value.reshape(*shape[:2], -1, self.d_head) if kind in BY_HEAD and value.ndim == 3 else value
            return tape(kind, layer, whole).reshape(shape)

        return visit

    @torch.no_grad()
    def unembed(self, resid: Tensor) -> Tensor:
        with self.lock:
            flat = resid.reshape(1, -1, resid.shape[-1])
            logits = torch.as_tensor(self.bridge.unembed(self.bridge.ln_final(flat))).reshape(*resid.shape[:-1], -1)
        return logits if self.logit_softcap is None else soft_cap(logits, self.logit_softcap)

    @torch.no_grad()
    def own_logits(self, tokens: Int[Tensor, "batch pos"]) -> Tensor:
        """Logits [batch, pos, vocab] of the bridge's own forward pass: what every other path must reproduce."""
        with self.lock:
            return torch.as_tensor(self.bridge(tokens))


def largest_difference(backend: Backend, oracle: Bridge, texts: Sequence[Sequence[int]], device: str) -> float:
    """Largest |Δ log-prob| of a backend to the bridge's own forward pass; infinite where a value is not a number."""
    worst = 0.0
    for ids in texts:
        batch = torch.tensor([list(ids)], device=device)
        ours = backend.unembed(backend.run(batch, Tape((), ())))
        difference = (
            (ours.double().log_softmax(-1) - oracle.own_logits(batch).double().log_softmax(-1)).abs().max().item()
        )
        worst = max(worst, float("inf") if math.isnan(difference) else difference)
    return worst
