"""Networks with random weights, and how they are written: GPT-2 of Hugging Face, or TransformerLens' attention-only model."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from explorer.models.native import NativeShape, save_native
from explorer.models.zoo.tokenizer import N_CTX
from explorer.training.optimise import Logits
from explorer.training.recipes import Recipe


def make_network(recipe: Recipe, vocab_size: int) -> tuple[nn.Module, Logits]:
    """A network with the recipe's random weights, and the function from tokens [batch, pos] to its logits."""
    torch.manual_seed(recipe.seed)
    network = attention_only(recipe, vocab_size) if recipe.attn_only else gpt2(recipe, vocab_size)
    return network.train(), network if recipe.attn_only else lambda tokens: network(tokens, use_cache=False).logits


def gpt2(recipe: Recipe, vocab_size: int) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocab_size, n_positions=N_CTX, n_embd=recipe.d_model, n_layer=recipe.n_layers, n_head=recipe.n_heads,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0, attn_implementation="sdpa",
    )  # fmt: skip
    made: nn.Module = GPT2LMHeadModel(config)
    return made


def attention_only(recipe: Recipe, vocab_size: int) -> nn.Module:
    return native_shape(recipe, vocab_size).make()


def native_shape(recipe: Recipe, vocab_size: int) -> NativeShape:
    return NativeShape(
        n_layers=recipe.n_layers, n_heads=recipe.n_heads, d_head=recipe.d_model // recipe.n_heads,
        d_model=recipe.d_model, n_ctx=N_CTX, d_vocab=vocab_size, normalization_type="LN",
    )  # fmt: skip


def write_network(network: nn.Module, recipe: Recipe, tokenizer: Any, directory: Path) -> None:
    """Weights in float16, configuration and tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    if recipe.attn_only:
        save_native(network, native_shape(recipe, len(tokenizer)), directory, torch.float16)
    else:
        half: Any = copy.deepcopy(network).half()
        half.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
