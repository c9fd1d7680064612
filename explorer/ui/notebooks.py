"""Which calls make what a page shows, for the notebook export."""

import numpy as np

from explorer.analyses.activation_patching import activation_patching
from explorer.analyses.attention import attention
from explorer.analyses.attribution import direct_logit_attribution
from explorer.analyses.component_lens import component_lens
from explorer.analyses.lens import logit_lens
from explorer.analyses.weighted_attention import weighted_attention
from explorer.circuits.evaluation import core_scores
from explorer.findings.notebook import View, expression, notebook
from explorer.ui.circuit_state import chosen_pairs, known_scores, runs_of, spec_of, top_of
from explorer.ui.desk import Desk
from explorer.ui.state import stack_of
from explorer.ui.sweeps import directions_of, noise_of

MOST_NUMBERS = 40


def page_notebook(desk: Desk, title: str) -> str:
    """The notebook of a page as it stands: its prediction, and the page's own view."""
    bench = desk.bench
    views = [prediction_view(desk)]
    if title == "Attention":
        views.append(attention_view(desk))
    if title == "Lens":
        views.append(lens_view(desk) if bench.lens_of == "stream" else component_view(desk))
    if title == "Patching" and desk.answer and desk.distractor:
        views.append(patching_view(desk))
    if title == "Circuits" and desk.answer and desk.distractor:
        views += circuit_views(desk)
    if title == "Attribution" and desk.answer:
        views.append(attribution_view(desk))
    return notebook(desk.model.info, bench.pair, bench.prompt, desk.stack, bench.bos, views)


def circuit_views(desk: Desk) -> list[View]:
    """The circuit as it stands before changes by hand, and its scores; none for one by hand, or not found yet."""
    bench = desk.bench
    if bench.circuit_method == "by hand":
        return []
    chosen = chosen_pairs(bench, desk.model)
    spec = spec_of(bench, desk.model, chosen.pairs, bench.circuit_method)
    scores = known_scores(spec, desk.model)
    if scores is None:
        return []
    top = top_of(bench, scores)
    runs = runs_of(bench, desk.model, chosen.pairs)
    circuit = scores.circuit(top)
    core = core_scores(runs, circuit.mask()[None], *runs.ends())[0]
    pairs = "[" + ", ".join(expression(pair) for pair in chosen.pairs) + "]"
    calls = (
        f"pairs = {pairs}\ncircuit = ex.discover_circuit(model, pairs, method={spec.method!r}, keep={top}, by_position={spec.by_position}, "
        f"threshold={spec.threshold}, target={spec.target}, bos=bos)\nfound = ex.evaluate_circuit(model, circuit, pairs, n_random=5, bos=bos)"
    )
    numbers = {"circuit.n_edges": float(circuit.n_edges), "found.faithfulness": core.faithfulness.value, "found.completeness": core.completeness.value}  # fmt: skip
    return [View("The circuit, before changes by hand", calls, numbers, "ex.plots.circuit(circuit)")]


def patching_view(desk: Desk) -> View:
    """The sweep of the first direction that the page shows, under the stack."""
    bench, way = desk.bench, directions_of(desk.bench)[0]
    layers = [desk.model.info.n_layers - 1 if bench.patch_layer is None else bench.patch_layer]
    chosen = layers if bench.patch_site == "neurons" else None
    stacks = {side: stack_of(bench.entries, bench.pair, side) for side in ("clean", "corrupt")}
    noise = noise_of(bench)
    found = activation_patching(
        desk.model, bench.pair, bench.patch_site, by_position=bench.by_position, direction=way, layers=chosen,
        interventions=lambda pair, side: stacks[side], noise=noise, draws=bench.draws, bos=bench.bos,
    )  # fmt: skip
    written = {side: f"[{', '.join(map(expression, stack))}]" for side, stack in stacks.items()}
    calls = (
        f"stacks = {{'clean': {written['clean']}, 'corrupt': {written['corrupt']}}}\n"
        f"patched = ex.activation_patching(model, pair, {bench.patch_site!r}, by_position={bench.by_position}, direction={way!r}, "
        f"layers={chosen}, interventions=lambda pair, side: stacks[side], noise={'None' if noise is None else expression(noise)}, "
        f"draws={bench.draws}, bos=bos)"
    )
    strongest = np.argsort(-np.abs(found.raw.ravel()), kind="stable")[:MOST_NUMBERS]
    objectives = (found.base.mean() + found.raw).ravel()  # of the patched runs: a change is a small difference of these
    numbers = {f"(patched.base.mean() + patched.raw).ravel()[{cell}]": float(objectives[cell]) for cell in strongest}
    return View(f"Activation patching, {way}", calls, numbers, "patched.frame")


def objective(desk: Desk) -> str:
    return f"answer={desk.answer!r}, distractor={desk.distractor!r}"


def prediction_view(desk: Desk) -> View:
    found = desk.prediction
    numbers = {"result.kl": found.kl}
    for name in ("baseline", "changed"):
        score = getattr(found, name)
        if score is not None:
            numbers |= {f"result.{name}.objective": score.objective, f"result.{name}.answer_prob": score.answer_prob}
    return View(
        "Prediction",
        f"result = ex.prediction(model, prompt, stack, {objective(desk)}, position={desk.position}, bos=bos)",
        numbers,
        "result.frame",
    )


def attention_view(desk: Desk) -> View:
    head, place = desk.bench.head, desk.position
    if desk.bench.weighting == "attention":
        values = attention(desk.model, desk.tokens.text, desk.stack, bos=desk.bench.bos).patterns
        calls = "attention = ex.attention(model, prompt, stack, bos=bos)\npatterns = attention.patterns"
        draw = f"ex.plots.attention_head(attention, {head.layer}, {head.head})"
    else:
        values = weighted_attention(
            desk.model, desk.tokens.text, desk.stack, weighting=desk.bench.weighting, answer=desk.answer,
            distractor=desk.distractor, bos=desk.bench.bos,
        )  # fmt: skip
        calls = f"patterns = ex.weighted_attention(model, prompt, stack, weighting={desk.bench.weighting!r}, {objective(desk)}, bos=bos)"
        draw = f"patterns[{head.layer}, {head.head}].round(3)"
    if head.layer >= values.shape[0] or head.head >= values.shape[1]:
        return View("Attention", calls)
    sources = values[head.layer, head.head, place, : place + 1].argsort()[::-1][:MOST_NUMBERS]
    numbers = {
        f"patterns[{head.layer}, {head.head}, {place}, {source}]": float(values[head.layer, head.head, place, source])
        for source in sources
    }
    return View(f"Attention of {head}", calls, numbers, draw)


def lens_view(desk: Desk) -> View:
    bench = desk.bench
    found = logit_lens(
        desk.model, desk.tokens.text, desk.stack, kind=bench.lens, answer=desk.answer, distractor=desk.distractor,
        positions=(desk.position,), kl=True, bos=bench.bos,
    )  # fmt: skip
    calls = (
        f"lens = ex.logit_lens(model, prompt, stack, kind={bench.lens!r}, {objective(desk)}, positions=[{desk.position}], "
        "kl=True, bos=bos)"
    )
    layers = range(desk.model.info.n_layers)
    numbers = {f"lens.prob[{layer}, 0]": float(found.prob[layer, 0]) for layer in layers}
    return View(f"{bench.lens.capitalize()} lens", calls, numbers, "lens.frame")


def component_view(desk: Desk) -> View:
    found = component_lens(
        desk.model, desk.tokens.text, desk.stack, answer=desk.answer, distractor=desk.distractor, position=desk.position,
        bos=desk.bench.bos,
    )  # fmt: skip
    calls = (
        f"components = ex.component_lens(model, prompt, stack, {objective(desk)}, position={desk.position}, bos=bos)"
    )
    strongest = found.logit.ravel().argsort()[::-1][:MOST_NUMBERS]
    width = found.logit.shape[1]
    numbers = {
        f"components.logit[{index // width}, {index % width}]": float(found.logit.ravel()[index]) for index in strongest
    }
    return View("Heads and MLPs, read one by one", calls, numbers, "components.frame")


def attribution_view(desk: Desk) -> View:
    found = direct_logit_attribution(
        desk.model, desk.tokens.text, desk.stack, answer=desk.answer, distractor=desk.distractor, position=desk.position,
        bos=desk.bench.bos,
    )  # fmt: skip
    calls = (
        f"attribution = ex.direct_logit_attribution(model, prompt, stack, {objective(desk)}, position={desk.position}, bos=bos)\n"
        "parts = attribution.frame.set_index('component')['changed']"
    )
    rows = found.frame.set_index("component")["changed"]
    strongest = rows.abs().sort_values(ascending=False).index[:MOST_NUMBERS]
    numbers = {f"parts[{str(name)!r}]": float(rows[name]) for name in strongest}
    return View("Direct logit attribution", calls, numbers | {"attribution.check": found.check}, "attribution.frame")
