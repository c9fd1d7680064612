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


def print_card(card: dict[str, Any]) -> None:
    from explorer.training.dictionary_card import CARD_ROWS, in_words

    own, other = card["quality"], card.get("shuffled_weights") or {}
    print(f"{'held-out text':<40} {'dictionary':>12} {'shuffled weights':>18}")
    for name, words in CARD_ROWS.items():
        print(f"{words:<40} {in_words(own[name]):>12} {in_words(other.get(name)):>18}")


def index(options: argparse.Namespace) -> int:
    """Index a text for a dictionary; goes on where it was interrupted."""
    from explorer.engine.model import load_model
    from explorer.features.index import feature_index

    model = load_model(options.model)
    found = feature_index(model, options.site, text=options.text, tokens=options.tokens)
    assert found is not None
    fires = int((found.totals["count"] > 0).sum())
    print(f"{found.folder}: {found.n_tokens:,} tokens, {fires:,} of {found.n_features:,} features fire")
    return 0


def add_sae(options: argparse.Namespace) -> int:
    """Check a dictionary against a model and keep it."""
    from explorer.engine.model import load_model
    from explorer.features.loading import load_dictionary

    model = load_model(options.model)
    found = load_dictionary(model, options.source, options.id, options.name)
    print(f"{found.place}: {found.n_features:,} features, {found.architecture}, reads {found.d_in} numbers")
    return 0
