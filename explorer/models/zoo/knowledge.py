"""What is known of a shipped model, for pages and the command line: its true circuit, or the card it was measured for."""

import json
from typing import Any

from explorer.core.pairs import ContrastPair
from explorer.models.catalog import CATALOG, ExactRow, TrainedModel
from explorer.models.zoo.exact.loading import exact_model
from explorer.models.zoo.exact.parts import TrueCircuit
from explorer.models.zoo.shipped import FILES


def true_circuit(key: str) -> TrueCircuit | None:
    """The circuit of an exact model; None for every other."""
    return exact_model(key).circuit if isinstance(CATALOG.get(key), ExactRow) else None


def own_examples(key: str) -> tuple[ContrastPair, ...]:
    """An exact model's contrast pairs, in its own words; none for a model that reads English."""
    return exact_model(key).examples if isinstance(CATALOG.get(key), ExactRow) else ()


def card(key: str) -> dict[str, Any] | None:
    """The measurements on a trained model's card; None for a model without."""
    path = FILES / key / "card.json"
    if not isinstance(CATALOG.get(key), TrainedModel) or not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found
