"""An exact model, built and ready to be run."""

import hashlib
from functools import lru_cache

import torch

from explorer.models.info import LoadedWeights
from explorer.models.native import describe_native, with_weights
from explorer.models.zoo.exact.parts import ExactModel
from explorer.models.zoo.exact.table import BUILDERS
from explorer.models.zoo.exact.tokenizer import word_tokenizer


@lru_cache(maxsize=32)
def exact_model(key: str) -> ExactModel:
    """An exact model as data: weights, vocabulary, true circuit, known directions."""
    return BUILDERS[key]()


def load_exact(key: str, dtype: torch.dtype, device: str) -> LoadedWeights:
    made = exact_model(key)
    model = with_weights(made.shape, made.weights, dtype).to(device)
    digest = hashlib.sha256()
    for name in sorted(made.weights):
        digest.update(name.encode() + made.weights[name].contiguous().numpy().tobytes())
    info = describe_native(key, "built at load", model, made.shape, digest.hexdigest())
    return LoadedWeights(model, word_tokenizer(made.words, made.shape.n_ctx), info)
