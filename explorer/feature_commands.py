"""The commands of the command line that train, add and index dictionaries."""

import argparse
from typing import Any


def train_sae(options: argparse.Namespace) -> int:
    """Train a dictionary, measure it on held-out text, and say where it lies."""
    from explorer.engine.model import load_model
    from explorer.models.dictionary_files import own_folder
    from explorer.training.dictionary import dictionary_recipe, train_dictionary

    model = load_model(options.model)
    names = ("features", "k", "tokens", "steps", "seed", "written")
    recipe = dictionary_recipe(model, options.site, **{name: getattr(options, name) for name in names})
    folder = options.out or own_folder(model.info) / recipe.place
    found = train_dictionary(model, recipe, folder, options.text, random_baseline=not options.no_baseline)
    print_card(found.card)
    print(f"{folder}: {found.n_features:,} features, {found.card['cpu_minutes']} CPU-minutes")
    return 0


ROWS = {
    "l0": "L0: features that fire at a token",
    "fve": "fraction of variance explained",
    "fve_mean_predictor": "  of the mean predictor",
    "dead": "never fired on these tokens",
    "ce": "cross-entropy of the model, nats",
    "ce_dictionary": "  with the dictionary in its place",
    "ce_zero": "  with the place set to zero",
    "ce_mean": "  with the place set to its mean",
    "ce_recovered_zero": "CE recovered, against zero",
    "ce_recovered_mean": "CE recovered, against the mean",
    "kl_score": "KL score",
}


def print_card(card: dict[str, Any]) -> None:
    own, other = card["quality"], card.get("shuffled_weights") or {}
    print(f"{'held-out text':<40} {'dictionary':>12} {'shuffled weights':>18}")
    for name, words in ROWS.items():
        print(f"{words:<40} {number(own[name]):>12} {number(other.get(name)):>18}")


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3f}"
