"""A GPT-2 of any depth with random weights: its shape decides the time, not what it has learnt."""

import tempfile

from explorer.engine.model import Model, load_model
from explorer.prompts.tokens import Tokens


def random_gpt2(n_layers: int = 12) -> Model:
    """GPT-2 small's shape (12 heads, d_model 768, vocabulary 50,257) with `n_layers` layers, in float32."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    hf_model = GPT2LMHeadModel(GPT2Config(n_layer=n_layers))
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with tempfile.TemporaryDirectory() as directory:
        hf_model.save_pretrained(directory)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(directory)
        return load_model(directory)


def tokens_of(ids: list[int]) -> Tokens:
    return Tokens("random tokens", ids, [str(id_) for id_ in ids], has_bos=False)


def random_pair(length: int, part_at: int, n_vocab: int) -> tuple[Tokens, Tokens]:
    """Two prompts of random tokens that are equal before `part_at`, and differ from there on."""
    import torch

    generator = torch.Generator().manual_seed(length)
    rows = torch.randint(n_vocab, (2, length), generator=generator)
    rows[1, :part_at] = rows[0, :part_at]
    clean, corrupt = rows.tolist()
    return tokens_of(clean), tokens_of(corrupt)
