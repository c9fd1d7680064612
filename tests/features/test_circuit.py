"""Effects through dictionaries: sums are attribution patching, chains add up, a lossless dictionary leaves no error."""

from pathlib import Path

import numpy as np
import pytest
import torch

from explorer.analyses.attribution_patching import attribution_patching
from explorer.core.errors import DictionaryError
from explorer.core.pairs import ContrastPair
from explorer.core.sites import Head
from explorer.engine.interventions import Ablate
from explorer.features.circuit import feature_effects
from tests.features.dictionaries import added

PAIR = ContrastPair("The capital of France is", "The capital of Italy is", " the", " and")
pytestmark = pytest.mark.truth


def with_dictionaries(model, tmp_path: Path, kind: str, layers=(0, 1, 2)):
    return [added(model, tmp_path / f"{layer}", kind, layer, "resid_post") for layer in layers]


@pytest.mark.parametrize(
    ("family", "kind"), [("gpt2", "relu"), ("llama", "topk"), ("neox", "jumprelu"), ("gemma2", "relu")]
)
def test_effects_add_up_to_attribution_patching_and_edges_to_effects(
    family: str, kind: str, tiny_models, tmp_path: Path
) -> None:
    model = tiny_models[family]
    found = with_dictionaries(model, tmp_path, kind)
    stack = (Ablate(Head(0, 1)),)
    for interventions in ((), stack):
        effects = feature_effects(model, PAIR, keep=found[0].n_features, interventions=interventions)
        whole = attribution_patching(
            model, PAIR, "resid_post", direction="noising", by_position=False, interventions=interventions
        )
        for number in range(3):
            total = effects.by_pair[number].sum(1) + effects.errors[:, number]
            assert np.allclose(total, whole.by_pair[:, number].reshape(-1), atol=1e-9)
        for place in range(2):
            up, down = effects.kept[place], effects.kept[place + 1]
            leaving = effects.edges[place].sum(0)
            own = np.append(effects.by_pair[place][0, list(up)], effects.errors[0, place])
            assert np.allclose(leaving, own, atol=1e-9) and len(down) == found[0].n_features


def test_a_lossless_dictionary_leaves_no_error(tiny_models, tmp_path: Path) -> None:
    """Features x and −x of every dimension: ReLU gives back every input."""
    model = tiny_models["gpt2"]
    from tests.features.dictionaries import make

    folder = tmp_path / "identity"
    sae = make("relu", 32, 1, "resid_post", n=64)
    with torch.no_grad():
        eye = torch.eye(32)
        sae.W_enc.copy_(torch.cat([eye, -eye], 1))
        sae.W_dec.copy_(torch.cat([eye, -eye]))
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    sae.save_model(folder)
    from explorer.models.dictionary_files import add_dictionary

    add_dictionary(str(folder), model.info)
    effects = feature_effects(model, PAIR)
    assert np.abs(effects.errors).max() < 1e-9 and np.abs(effects.by_pair[0]).max() > 0


def test_a_model_without_dictionaries_says_how_to_train_one(tiny_models) -> None:
    with pytest.raises(DictionaryError, match="train-sae"):
        feature_effects(tiny_models["gpt2"], PAIR)


def test_two_dictionaries_of_a_layer_are_refused(tiny_models, tmp_path: Path) -> None:
    model = tiny_models["gpt2"]
    with_dictionaries(model, tmp_path, "relu", (0,))
    with pytest.raises(DictionaryError, match=r"one dictionary a layer; got L0\.resid_post, L0\.resid_post"):
        feature_effects(model, PAIR, ("L0.resid_post", "L0.resid_post"))
