"""Which calls make what the Features page shows."""

from typing import Any

import numpy as np

from explorer.features.circuit import FeatureEffects
from explorer.features.dashboard import prompt_features
from explorer.features.steering import DoseResponse
from explorer.findings.finding import Measure
from explorer.ui.desk import Desk
from explorer.ui.feature_state import graph_of, open_feature, shown_place
from explorer.ui.on_request import finished

MOST_NUMBERS = 24
Seen = tuple[Measure, Any]
"""A measure, and the result of its call where that was made to choose what is read; else None."""


def feature_measures(desk: Desk) -> list[Seen]:
    """Of the view that is open; work that is asked for is kept where it was done."""
    match desk.bench.feature_view:
        case "Circuit":
            return circuit_measures(desk)
        case "Graph":
            return [graph_measure(desk)]
        case "Dictionaries":
            return []
    found = [prompt_measure(desk)] if shown_place(desk.bench, desk.model) else []
    return [*found, *dose_measures(desk)] if desk.bench.feature_view == "Feature" else found


def prompt_measure(desk: Desk) -> Seen:
    """Activations on the prompt: of the open feature at every token, else of the strongest at the selected one."""
    place = shown_place(desk.bench, desk.model)
    arguments = {"place": place, "prompt": desk.tokens.text, "interventions": desk.stack, "bos": desk.bench.bos}
    found = prompt_features(desk.model, place, desk.tokens.text, desk.stack, desk.bench.bos)
    feature = open_feature(desk.bench)
    if feature is not None and feature.place == place:
        cells = [(position, feature.index) for position in range(min(len(desk.tokens), MOST_NUMBERS))]
    else:
        order = np.argsort(-np.abs(found.acts[desk.position]), kind="stable")[: MOST_NUMBERS // 2]
        cells = [(desk.position, int(index)) for index in order]
    reads = tuple(f"acts[{position}, {index}]" for position, index in cells)
    return Measure(f"Features of {place}", "prompt_features", arguments, reads), found


def dose_measures(desk: Desk) -> list[Seen]:
    """The dose-response of the open feature, where it was measured under these inputs."""
    for inputs, result in finished("dose"):
        if (
            isinstance(result, DoseResponse)
            and inputs[0] == desk.bench.feature
            and inputs[2:6] == (desk.tokens.text, desk.answer, desk.distractor, desk.stack)
        ):
            arguments = {
                "feature": result.feature, "text": desk.tokens.text, "answer": desk.answer, "distractor": desk.distractor,
                "unit": result.unit, "interventions": desk.stack, "bos": desk.bench.bos,
            }  # fmt: skip
            return [
                (
                    Measure(
                        f"Dose-response of {result.feature}",
                        "dose_response",
                        arguments,
                        ("slope", "unit"),
                        ("objective", "side_effect", "random_objective"),
                    ),
                    result,
                )
            ]
    return []


def circuit_measures(desk: Desk) -> list[Seen]:
    """The strongest features of the circuit that was found last."""
    for (_, pairs, stacks, bos, places), result in finished("feature_circuit")[:1]:
        assert isinstance(result, FeatureEffects)
        if len(result.clean) < len(pairs):
            return []
        reads = []
        for row in result.table(MOST_NUMBERS // 2)["feature"]:
            place, _, index = str(row).rpartition("/")
            reads.append(f"contributions['{place}'][{index}]")
        reads += [f"missed['{place}']" for place in result.places]
        arguments = {"pairs": pairs, "places": places, "interventions": stacks, "bos": bos}
        return [
            (Measure(f"Features that matter, {len(pairs)} pairs", "feature_effects", arguments, tuple(reads)), result)
        ]
    return []


def graph_measure(desk: Desk) -> Seen:
    arguments = {"text": desk.tokens.text, "interventions": desk.stack, "bos": desk.bench.bos}
    found = graph_of(desk, desk.stack)
    strongest = np.argsort(-found.influence, kind="stable")[: MOST_NUMBERS // 2]
    reads = ("completeness", "replacement", *(f"influence[{int(number)}]" for number in strongest))
    return Measure("Attribution graph", "attribution_graph", arguments, reads), found
