"""Tiny random models of several families, with a real byte-level tokenizer, as Hugging Face directories."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SHAPE = {"vocab": 400, "layers": 3, "heads": 4, "d_model": 32, "context": 96}
TEXTS = [
    "When Mary and John went to the store, John gave a drink to Mary",
    "The capital of France is Paris and the capital of Italy is Rome",
    "The keys to the cabinet are on the table",
]


@cache
def tokenizer() -> Any:
    """Byte-level BPE, as GPT-2's: every text encodes, words carry their leading space."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE["vocab"],
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 50, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )


def config(family: str) -> Any:
    shape = SHAPE
    llama = {
        "vocab_size": shape["vocab"],
        "hidden_size": shape["d_model"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "intermediate_size": 48,
        "max_position_embeddings": shape["context"],
    }
    match family:
        case "gpt2":
            return transformers.GPT2Config(
                vocab_size=shape["vocab"],
                n_embd=shape["d_model"],
                n_layer=shape["layers"],
                n_head=shape["heads"],
                n_positions=shape["context"],
            )
        case "llama":
            return transformers.LlamaConfig(**llama, num_key_value_heads=2, tie_word_embeddings=True)
        case "llama3-rope":
            rope = {
                "rope_type": "llama3",
                "rope_theta": 10_000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
            return transformers.LlamaConfig(
                **llama, num_key_value_heads=4, head_dim=16, attention_bias=True, rope_parameters=rope
            )
        case "mistral":
            return transformers.MistralConfig(**llama, num_key_value_heads=2, sliding_window=None)
        case "qwen2":
            return transformers.Qwen2Config(**llama, num_key_value_heads=1)
        case "mistral-window":
            return transformers.MistralConfig(**llama, num_key_value_heads=2, sliding_window=5)
        case "qwen3":
            return transformers.Qwen3Config(**llama, num_key_value_heads=2, head_dim=16)
        case "gemma2":  # every other layer looks at five positions
            return transformers.Gemma2Config(
                **llama, num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=20, sliding_window=5,
                attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
            )  # fmt: skip
        case "neox":
            return transformers.GPTNeoXConfig(**llama)
        case "neox-sequential":
            return transformers.GPTNeoXConfig(**llama, use_parallel_residual=False)
        case "opt":  # not covered by the engine: runs on the bridge
            return transformers.OPTConfig(
                vocab_size=shape["vocab"], hidden_size=shape["d_model"], num_hidden_layers=shape["layers"], ffn_dim=48,
                num_attention_heads=shape["heads"], max_position_embeddings=shape["context"], word_embed_proj_dim=shape["d_model"],
                pad_token_id=0, bos_token_id=0, eos_token_id=0,
            )  # fmt: skip
    raise ValueError(family)


COVERED = (
    "gpt2", "llama", "llama3-rope", "mistral", "mistral-window", "qwen2", "qwen3", "gemma2", "neox", "neox-sequential",
)  # fmt: skip
FAMILIES = (*COVERED, "opt")
QUICK = ("gpt2", "qwen2", "gemma2", "neox")
"""Families of the fast tier; between them they have every feature."""


def tiered(names: Iterable[str]) -> list[Any]:
    """Parameters of a test over families: those outside `QUICK` run in the slow tier."""
    later = set(COVERED) - set(QUICK)
    return [pytest.param(name, marks=pytest.mark.slow) if name in later else name for name in names]


def hf_model(family: str) -> Any:
    """Random weights, larger than at initialisation, so that heads and norms matter."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config(family))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + 0.2 * noise if "norm" in name or "ln_" in name else 0.15 * noise)
    return model.eval()


def write_model(family: str, directory: Path) -> Path:
    hf_model(family).save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    return directory
