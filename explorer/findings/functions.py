"""The calls that a finding may hold: the names of the Python face that make a number, and how each result is drawn.

A report from elsewhere can name these and nothing else.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from explorer.analyses import (
    activation_patching,
    attention,
    attribution,
    attribution_patching,
    component_effect,
    component_lens,
    head_check,
    joint_patching,
    lens,
    mediation,
    path_patching,
    prediction,
    probe,
    task_pairs,
    token_attribution,
    weighted_attention,
)
from explorer.core.errors import FindingError
from explorer.core.records import to_record
from explorer.core.times import now
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.features import circuit as feature_circuit
from explorer.features import dashboard, graph, steering
from explorer.findings import circuit_checks, estimates
from explorer.findings.finding import Measure, Measured
from explorer.findings.reading import array_at, number_at
from explorer.jobs import patching
from explorer.models.info import Progress


@dataclass(frozen=True)
class Function:
    run: Callable[..., Any]
    draw: str = ""
    """The name in `explorer.plots` of its figure; empty where there is none."""
    part: str = ""
    """What of the result that figure takes; empty for the whole."""


FUNCTIONS: dict[str, Function] = {
    "prediction": Function(prediction.prediction),
    "attention": Function(attention.attention, "attention_head"),
    "weighted_attention": Function(weighted_attention.weighted_attention),
    "logit_lens": Function(lens.logit_lens, "logit_lens"),
    "component_lens": Function(component_lens.component_lens, "component_lens"),
    "direct_logit_attribution": Function(attribution.direct_logit_attribution, "direct_logit_attribution"),
    "token_attribution": Function(token_attribution.token_attribution, "token_attribution"),
    "activation_patching": Function(activation_patching.activation_patching, "effects"),
    "attribution_patching": Function(attribution_patching.attribution_patching, "effects"),
    "dataset_patching": Function(patching.dataset_patching),
    "joint_patching": Function(joint_patching.joint_patching),
    "path_patching": Function(path_patching.path_patching),
    "mediation": Function(mediation.mediation),
    "task_pairs": Function(task_pairs.task_pairs),
    "head_check": Function(head_check.head_check),
    "component_effect": Function(component_effect.component_effect, "component_effect"),
    "probe": Function(probe.probe, "probe"),
    "estimated_effect": Function(estimates.estimated_effect),
    "prompt_features": Function(dashboard.prompt_features),
    "feature_effects": Function(feature_circuit.feature_effects),
    "attribution_graph": Function(graph.attribution_graph, "attribution_graph"),
    "dose_response": Function(steering.dose_response, "dose_response"),
    "circuit_found": Function(circuit_checks.circuit_found, "circuit", "circuit"),
    "circuit_score": Function(circuit_checks.circuit_score),
    "circuit_worst": Function(circuit_checks.circuit_worst),
    "circuit_stability": Function(circuit_checks.circuit_stability),
}


def function_of(measure: Measure) -> Function:
    if measure.function not in FUNCTIONS:
        raise FindingError(
            f"This version does not know the measure {measure.function[:60]!r}. It may come from a newer one: update circuit-explorer."
        )
    return FUNCTIONS[measure.function]


def call(
    model: Model, measure: Measure, progress: Progress | None = None, cancelled: Callable[[], bool] = never
) -> Any:
    """The result of a measure's call; `FindingError` for arguments that do not fit, and as the function itself."""
    run = function_of(measure).run
    takes = signature(run).parameters
    extras: dict[str, Any] = {"progress": progress, "cancelled": cancelled}
    given = measure.arguments | {name: value for name, value in extras.items() if name in takes}
    if unknown := set(measure.arguments) - set(takes):
        raise FindingError(f"{measure.function} takes no {', '.join(sorted(unknown))}.")
    try:
        return run(model, **given)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise FindingError(
            f"{measure.title}: {measure.function} cannot be called with what is kept ({error})."
        ) from error


def measured(
    model: Model,
    measure: Measure,
    *,
    figure: bool = True,
    result: Any = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> Measured:
    """Run a measure and read what it reads; `result` where its call was made before."""
    started = time.perf_counter()
    if result is None:
        result = call(model, measure, progress, cancelled)
    return Measured(
        measure,
        {path: number_at(result, path) for path in measure.reads},
        {path: array_at(result, path) for path in measure.arrays},
        figure_of(measure, result) if figure else "",
        to_record(getattr(result, "provenance", None)) or to_record(model.provenance([])),
        now(),
        round(time.perf_counter() - started, 3),
    )


def figure_of(measure: Measure, result: Any) -> str:
    """The plotly figure of a result, as JSON; empty where it has none."""
    function = function_of(measure)
    if not function.draw:
        return ""
    from explorer import plots  # plotly is loaded when something is drawn

    drawn: str = getattr(plots, function.draw)(
        getattr(result, function.part) if function.part else result, **measure.draw
    ).to_json()
    return drawn
