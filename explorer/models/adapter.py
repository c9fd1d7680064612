"""The TransformerBridge of a loaded model: oracle of the self-check and fall-back.  The only importer of transformer_lens."""

from typing import Any


def boot_bridge(hf_model: Any, tokenizer: Any, label: str) -> Any:
    """A `TransformerBridge` around the same parameters (no second copy of the weights).

    The bridge keeps hooks and flags on its modules, so one call at a time: callers hold a lock.
    """
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(
        label, hf_model=hf_model, tokenizer=tokenizer, device=str(hf_model.device)
    )
