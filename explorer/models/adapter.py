"""The TransformerBridge of a loaded model: oracle of the self-check and fall-back.  The only importer of transformer_lens."""

from typing import Any

import torch


def native_model(config: dict[str, Any]) -> Any:
    """TransformerLens' own small transformer with random weights."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources.native.model import NativeModel

    return NativeModel(TransformerBridgeConfig(**config))


def boot_bridge(model: Any, tokenizer: Any, label: str) -> Any:
    """A `TransformerBridge` around the same parameters (no second copy of the weights, except of a native model).

    The bridge keeps hooks and flags on its modules, so one call at a time: callers hold a lock.
    """
    from transformer_lens.model_bridge import TransformerBridge

    if type(model).__name__ == "NativeModel":
        return native_bridge(model)
    return TransformerBridge.boot_transformers(label, hf_model=model, tokenizer=tokenizer, device=str(model.device))


def native_bridge(model: Any) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_native(model.cfg)
    first = next(model.parameters())
    torch.nn.Module.to(bridge, device=first.device, dtype=first.dtype)  # the bridge's own method prints
    weights = model.state_dict()
    with torch.no_grad():
        for name, parameter in bridge.original_model.named_parameters():
            found = weights.get(name.replace("_original_component.", ""))
            # the bridge gives the unembedding a bias of its own
            parameter.copy_(torch.zeros_like(parameter) if found is None else found)
    return bridge
