"""Which calls make what a page shows: for the notebook, and for what is kept as a finding."""

from dataclasses import asdict
from typing import Any

import numpy as np

from explorer.analyses.activation_patching import activation_patching
from explorer.analyses.attention import attention
from explorer.analyses.attribution import direct_logit_attribution
from explorer.analyses.component_lens import component_lens
from explorer.analyses.weighted_attention import weighted_attention
from explorer.circuits.packing import pack
from explorer.core.places import parse_place
from explorer.core.sites import parse_receiver, parse_sender
from explorer.engine.edges import graph_of
from explorer.findings.finding import Measure, Measured, Recipe
from explorer.findings.functions import measured
from explorer.findings.notebook import notebook
from explorer.findings.reading import index_of
from explorer.jobs.patching import DatasetPatching
from explorer.ui.circuit_state import Shown, chosen_pairs, known_scores, shown_circuit, spec_of, top_of
from explorer.ui.desk import Desk
from explorer.ui.feature_measures import Seen, feature_measures
from explorer.ui.mediation import mediators_of
from explorer.ui.service import SERVICE
from explorer.ui.state import stacks_of
from explorer.ui.sweeps import directions_of, noise_of

MOST_NUMBERS = 40
COLUMNS_UP_TO = 48
"""Tokens up to which a lens is kept at every position."""


def page_notebook(desk: Desk, title: str) -> str:
    """The notebook of a page as it stands: its prediction, and the page's own view."""
    return notebook(desk.model.info, page_measured(desk, title, figure=False))


def page_measured(desk: Desk, title: str, figure: bool = True) -> list[Measured]:
    """What the page shows, with its numbers.  Raises as the analyses."""
    return [
        measured(desk.model, measure, figure=figure, result=result) for measure, result in page_measures(desk, title)
    ]


def page_measures(desk: Desk, title: str) -> list[Seen]:
    """The page's prediction and its own view.  Raises as the analyses."""
    own: list[Seen] = []
    if title == "Attention":
        own.append(attention_measure(desk))
    if title == "Lens":
        own.append(lens_measure(desk) if desk.bench.lens_of == "stream" else component_measure(desk))
    if title == "Patching" and desk.answer and desk.distractor:
        own += patching_measures(desk)
    if title == "Circuits" and desk.answer and desk.distractor:
        own += circuit_measures(desk)
    if title == "Attribution" and desk.answer:
        own.append(attribution_measure(desk))
    if title == "Features":
        own += feature_measures(desk)
    if title == "Tasks":
        own.append(task_measure(desk))
    return [prediction_measure(desk), *own]


def on_prompt(desk: Desk, **more: Any) -> dict[str, Any]:
    """Arguments that every view of a prompt has."""
    return {"prompt": desk.tokens.text, "interventions": desk.stack, "bos": desk.bench.bos, **more}


def objective(desk: Desk) -> dict[str, Any]:
    return {"answer": desk.answer, "distractor": desk.distractor}


def prediction_measure(desk: Desk) -> Seen:
    reads = ["kl"]
    for name in ("baseline", "changed") if desk.answer else ():
        reads += [f"{name}.objective", f"{name}.answer_prob"]
    arguments = on_prompt(desk, **objective(desk), position=desk.position)
    return Measure("Prediction", "prediction", arguments, tuple(reads)), None


def attention_measure(desk: Desk) -> Seen:
    head, place, bench = desk.bench.head, desk.position, desk.bench
    if bench.weighting == "attention":
        function, arguments = "attention", on_prompt(desk)
        found: Any = attention(desk.model, desk.tokens.text, desk.stack, bos=bench.bos)
        values = found.patterns
        path, draw = f"patterns[{head.layer}, {head.head}", {"layer": head.layer, "head": head.head}
    else:
        function, arguments = "weighted_attention", on_prompt(desk, weighting=bench.weighting, **objective(desk))
        found = values = weighted_attention(
            desk.model, desk.tokens.text, desk.stack, weighting=bench.weighting, **objective(desk), bos=bench.bos
        )
        path, draw = f"[{head.layer}, {head.head}", {}
    if head.layer >= values.shape[0] or head.head >= values.shape[1]:
        return prediction_measure(desk)
    sources = values[head.layer, head.head, place, : place + 1].argsort()[::-1][:MOST_NUMBERS]
    reads = tuple(f"{path}, {place}, {source}]" for source in sources)
    return Measure(f"Attention of {head}", function, arguments, reads, (f"{path}]",), draw), found


def lens_measure(desk: Desk) -> Seen:
    bench = desk.bench
    every = len(desk.tokens) <= COLUMNS_UP_TO
    column = desk.position if every else 0
    arguments = on_prompt(desk, kind=bench.lens, **objective(desk), kl=True)
    arguments["positions"] = None if every else (desk.position,)
    reads = tuple(f"prob[{layer}, {column}]" for layer in range(desk.model.info.n_layers))
    mode = {"mode": bench.lens_mode} if bench.lens_mode in ("probability", "entropy", "kl") else {}
    return Measure(f"{bench.lens.capitalize()} lens", "logit_lens", arguments, reads, ("prob", "entropy", "kl"), mode), None  # fmt: skip


def component_measure(desk: Desk) -> Seen:
    arguments = on_prompt(desk, **objective(desk), position=desk.position)
    found = component_lens(desk.model, desk.tokens.text, desk.stack, **objective(desk), position=desk.position, bos=desk.bench.bos)  # fmt: skip
    strongest = found.logit.ravel().argsort()[::-1][:MOST_NUMBERS]
    reads = tuple(f"logit{index_of(int(index), found.logit.shape)}" for index in strongest)
    return Measure("Heads and MLPs, read one by one", "component_lens", arguments, reads, ("logit",)), found


def attribution_measure(desk: Desk) -> Seen:
    arguments = on_prompt(desk, **objective(desk), position=desk.position)
    found = direct_logit_attribution(desk.model, desk.tokens.text, desk.stack, **objective(desk), position=desk.position, bos=desk.bench.bos)  # fmt: skip
    strongest = sorted(found.parts, key=lambda name: -abs(found.parts[name]))[:MOST_NUMBERS]
    reads = (*(f"parts['{name}']" for name in strongest), "check")
    return Measure("Direct logit attribution", "direct_logit_attribution", arguments, reads), found


def patching_measures(desk: Desk) -> list[Seen]:
    """Of the view that is open; a dataset run, which is there already, is not run again."""
    match desk.bench.patch_view:
        case "Sweep":
            return [patching_measure(desk)]
        case "Paths":
            return [path_measure(desk)] if desk.bench.sender else []
        case "Mediation":
            return [mediation_measure(desk)] if mediators_of(desk) else []
        case "Dataset":
            return dataset_measures(desk)


def path_measure(desk: Desk) -> Seen:
    bench = desk.bench
    receivers = tuple(parse_receiver(name) for name in bench.receivers)
    arguments = {
        "pairs": (bench.pair,), "sender": parse_sender(bench.sender), "receivers": receivers,
        "direction": "denoising" if bench.direction == "denoising" else "noising", "mlps": bench.path_mlps, "norms": bench.path_norms,
        "interventions": stacks_of(desk.bench), "bos": bench.bos,
    }  # fmt: skip
    title = f"Path patching, {bench.sender} to {', '.join(bench.receivers)}"
    return Measure(title, "path_patching", arguments, ("direct[0]", "total[0]", "all_paths[0]")), None


def mediation_measure(desk: Desk) -> Seen:
    bench = desk.bench
    mediators = tuple(parse_place(name) for name in mediators_of(desk))
    arguments = {"pairs": (bench.pair,), "mediators": mediators, "interventions": stacks_of(desk.bench), "noise": noise_of(bench), "bos": bench.bos}  # fmt: skip
    reads = ("total[0]", "direct[0]", "indirect[0]", "reverse_indirect[0]")
    return Measure(f"Mediation by {', '.join(map(str, mediators))}", "mediation", arguments, reads), None


def dataset_measures(desk: Desk) -> list[Seen]:
    """The open dataset run: the objective of its strongest patched runs, by direction."""
    found: DatasetPatching | None = SERVICE.result(desk.bench.job, desk.model) if desk.bench.job else None
    if found is None or len(found.numbers) < len(found.spec.pairs):
        return []
    reads: list[str] = []
    for way, effects in found.effects.items():
        strongest = np.argsort(-np.abs(effects.raw.ravel()), kind="stable")[: MOST_NUMBERS // 2]
        reads += [f"effects['{way}'].patched{index_of(int(cell), effects.raw.shape)}" for cell in strongest]
    arrays = tuple(f"effects['{way}'].raw" for way in found.effects)
    measure = Measure(f"Patching of {found.spec.site} over {len(found.numbers)} pairs", "dataset_patching", {"spec": found.spec}, tuple(reads), arrays)  # fmt: skip
    return [(measure, found)]


def patching_measure(desk: Desk) -> Seen:
    """The sweep of the first direction that the page shows, under the stack."""
    bench, way = desk.bench, directions_of(desk.bench)[0]
    layer = desk.model.info.n_layers - 1 if bench.patch_layer is None else bench.patch_layer
    arguments: dict[str, Any] = {
        "pairs": (bench.pair,), "site": bench.patch_site, "by_position": bench.by_position, "direction": way,
        "layers": (layer,) if bench.patch_site == "neurons" else None, "interventions": stacks_of(desk.bench), "noise": noise_of(bench),
        "draws": bench.draws, "bos": bench.bos,
    }  # fmt: skip
    found = activation_patching(desk.model, **arguments)
    strongest = np.argsort(-np.abs(found.raw.ravel()), kind="stable")[:MOST_NUMBERS]
    reads = tuple(f"patched{index_of(int(cell), found.raw.shape)}" for cell in strongest)
    return Measure(f"Activation patching of {bench.patch_site}, {way}", "activation_patching", arguments, reads, ("raw",)), found  # fmt: skip


def task_measure(desk: Desk) -> Seen:
    bench = desk.bench
    arguments = {"task": bench.task, "n": bench.n_pairs, "seed": bench.task_seed, "held_out": bench.held_out, "bos": bench.bos}  # fmt: skip
    return Measure(f"Pairs of {bench.task}", "task_pairs", arguments, ("accuracy", "top1")), None


def circuit_on_screen(desk: Desk) -> Shown | None:
    """None where it was not found yet."""
    bench = desk.bench
    if bench.circuit_method == "by hand":
        return shown_circuit(bench, None, graph_of(desk.model))
    scores = known_scores(spec_of(bench, desk.model, chosen_pairs(bench, desk.model).pairs, bench.circuit_method), desk.model)  # fmt: skip
    return None if scores is None else shown_circuit(bench, scores, graph_of(desk.model))


def circuit_recipe(desk: Desk) -> Recipe | None:
    """How the circuit on screen was found; None for one by hand, or not found yet."""
    bench = desk.bench
    shown = circuit_on_screen(desk)
    if shown is None or shown.scores is None or bench.circuit_method == "by hand":
        return None
    spec = spec_of(bench, desk.model, chosen_pairs(bench, desk.model).pairs, bench.circuit_method)
    return Recipe(spec.method, top_of(bench, shown.scores), spec.by_position, spec.threshold, spec.target)


def circuit_measures(desk: Desk) -> list[Seen]:
    """The circuit before changes by hand, and the scores of the one on screen; none where it was not found yet."""
    shown, recipe = circuit_on_screen(desk), circuit_recipe(desk)
    if shown is None or shown.circuit.n_edges == 0:
        return []
    pairs = chosen_pairs(desk.bench, desk.model).pairs
    bos = desk.bench.bos
    found = []
    if recipe is not None:
        arguments = {"pairs": pairs, **asdict(recipe), "bos": bos}
        found.append(Measure("The circuit, before changes by hand", "circuit_found", arguments, ("n_edges", "n")))
    packed = {"pairs": pairs, "circuit": pack(shown.circuit), "controls": 0, "bos": bos}
    for title, way in (("Faithfulness", "alone"), ("Completeness", "ablated")):
        found.append(Measure(title, "circuit_score", packed | {"way": way}, ("value", "low", "high", "n", "n_edges")))
    return [(measure, None) for measure in found]
