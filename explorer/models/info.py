"""What is known of a loaded model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Progress = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and the stage in words."""


def in_millions(count: int) -> str:
    """A number of parameters: `3.8 M`, or whole below a million."""
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count:,}"


@dataclass(frozen=True)
class ModelInfo:
    """Identity and shape of a model."""

    key: str
    """What the user asked for: catalog key, hub id or directory."""
    source: str
    """Where the weights lie: a directory on this machine."""
    architecture: str
    """Hugging Face architecture name, for example `LlamaForCausalLM`."""
    n_layers: int
    n_heads: int
    n_kv_heads: int
    """Key-value heads; fewer than `n_heads` in grouped-query attention."""
    d_model: int
    d_head: int
    d_mlp: int
    """Neurons in each MLP."""
    vocab_size: int
    n_ctx: int
    """Longest prompt, in tokens."""
    n_parameters: int
    dtype: str
    device: str
    weight_hash: str
    """SHA-256 over the weight files."""
    config_hash: str
    """SHA-256 of the configuration: equal weights under another configuration are another model."""
    parallel: bool = False
    """Attention and MLP read the same stream, so there is no resid_mid."""
    heads_add_up: bool = True
    """Each head's write is a summand of the stream; not so where a norm follows their sum (Gemma-2)."""

    @property
    def title(self) -> str:
        return self.key.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class SelfCheck:
    """Log-probabilities of the code that runs the model against the bridge's own forward pass, on probe prompts, at load."""

    max_difference: float
    """Largest |difference| of a log-probability over all positions and tokens."""
    limit: float
    n_probes: int
    reason: str = ""
    """Why the engine is not used, where it is not."""

    @property
    def passed(self) -> bool:
        return self.max_difference <= self.limit

    def __str__(self) -> str:
        sign = "≤" if self.passed else ">"
        text = f"max |Δ log-prob| {self.max_difference:.1e} {sign} {self.limit:.0e} on {self.n_probes} probe prompts"
        return f"{text}: {self.reason}" if self.reason else text


@dataclass(frozen=True)
class LoadedWeights:
    """A model in memory."""

    hf_model: Any
    """The Hugging Face model (or TransformerLens' `NativeModel`), in evaluation mode."""
    tokenizer: Any
    info: ModelInfo
