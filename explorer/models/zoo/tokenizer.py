"""The tokenizer of the small world: byte-level BPE in which every word of the world is one token.

It is trained on the distinct words (with and without their leading space), not on running text, so the frequency of a
word does not decide whether it stays whole.  Any other text still encodes, in pieces.
"""

import re
from functools import cache
from typing import Any

from explorer.models.zoo.world import documents

BOS = "<|endoftext|>"
PATTERN = r" ?\p{L}+| ?\d{1,2}| ?[^\s\p{L}\d]+|\s+(?!\S)|\s+"
"""Words with their leading space, digits in pairs (years are century and year), runs of signs."""
SAMPLE = 60_000
N_CTX = 128


def words(seed: int = 0) -> list[str]:
    """Every distinct piece of many documents, and all pairs of digits, sorted."""
    pieces = {
        piece for text in documents(seed, SAMPLE) for piece in re.findall(r" ?[A-Za-z]+| ?\d\d|[^\w\s]+|\s", text)
    }
    return sorted(pieces | {f"{space}{number:02d}" for number in range(100) for space in ("", " ")})


@cache
def train() -> Any:
    """A `PreTrainedTokenizerFast` that puts BOS in front by itself."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8000,
        min_frequency=1,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(words(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=BOS, unk_token=BOS, pad_token=BOS, model_max_length=N_CTX
    )
