"""The tokenizer of an exact model: a list of words, each with its leading space; any other word is unknown."""

from collections.abc import Sequence
from typing import Any

from explorer.models.zoo.exact.parts import BOS, SPECIAL, UNKNOWN


def word_tokenizer(words: Sequence[str], n_ctx: int) -> Any:
    """A `PreTrainedTokenizerFast` that puts BOS in front by itself."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {text: number for number, text in enumerate([*SPECIAL, *(f" {word}" for word in words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Prepend(" ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" \S+"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[BOS]} $A", special_tokens=[(SPECIAL[BOS], BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[BOS], eos_token=SPECIAL[BOS], pad_token=SPECIAL[BOS],
        unk_token=SPECIAL[UNKNOWN], model_max_length=n_ctx,
    )  # fmt: skip
