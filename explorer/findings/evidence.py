"""What each check of the ladder runs, for a claim about components and for one about a circuit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from explorer.analyses.task_pairs import task_pairs
from explorer.core.errors import ExplorerError, FindingError
from explorer.core.pairs import ContrastPair
from explorer.core.places import parse_place
from explorer.engine.model import Model
from explorer.engine.sweep import never
from explorer.findings.finding import Finding, Measure, Measured, Recipe
from explorer.findings.functions import measured
from explorer.findings.ladder import CheckName, checks_of
from explorer.models.info import Progress

PAIRS = 20
EFFECT_READS = ("mean", "low", "high", "p", "n", "n_controls", "largest_control")
SCORE_READS = ("value", "low", "high", "p", "n", "n_controls", "largest_control", "n_edges")


@dataclass(frozen=True)
class Sample:
    """Pairs that checks run on, and others that are held out."""

    pairs: tuple[ContrastPair, ...]
    held_out: tuple[ContrastPair, ...]


def sample_of(model: Model, task: str, n: int = PAIRS, seed: int = 0) -> Sample:
    """Pairs of a task that the model gets right: `n` for the checks, as many others held out.

    Raises `FindingError` where the model gets fewer than half of those right, and as `task_pairs`.
    """
    found = task_pairs(model, task, 4 * n, seed=seed)
    right = tuple(dict.fromkeys(found.right))
    if len(right) < n:
        raise FindingError(
            f"Of {len(found.pairs)} pairs of {task} the model gets {len(right)} right; checks on {n} pairs and on others held out need at "
            f"least {n}. Choose a task that it can do, or fewer pairs."
        )
    half = min(n, len(right) // 2)
    return Sample(right[:half], right[half : 2 * half])


def check_measure(finding: Finding, name: CheckName, sample: Sample, seed: int = 0) -> Measure:
    """The call of a check.  `FindingError` where a claim of this kind has no such check."""
    if name not in checks_of(finding):
        raise FindingError(
            "Name the components that the claim is about, such as L23H3, or keep it from the Circuits page: a claim about nothing in "
            "particular cannot be tested."
        )
    pairs = sample.held_out if name == "held out" else sample.pairs
    make = circuit_measure if finding.circuit else component_measure
    function, arguments, reads, arrays = make(finding, name)
    title = f"{name}: {function.replace('_', ' ')}, {len(pairs)} pairs of {finding.task}"
    seeded = {} if function == "circuit_worst" else {"seed": seed}
    return Measure(title, function, {"pairs": pairs, **arguments, **seeded}, reads, arrays, check=name)


Parts = tuple[str, dict[str, Any], tuple[str, ...], tuple[str, ...]]


def component_measure(finding: Finding, name: CheckName) -> Parts:
    places = tuple(parse_place(text) for text in finding.places)
    match name:
        case "decodable":
            return "probe", {"place": places[0]}, ("accuracy", "selectivity", "p", "n"), ("shuffled",)
        case "approximated":
            return "estimated_effect", {"places": places}, ("mean", "low", "high", "n"), ("by_pair",)
    manner = {"both directions": "denoising", "second ablation": "mean"}.get(name, "noising")
    return "component_effect", {"places": places, "manner": manner}, EFFECT_READS, ("by_pair", "controls")


def circuit_measure(finding: Finding, name: CheckName) -> Parts:
    circuit = {"circuit": finding.circuit}
    match name:
        case "approximated":
            return "circuit_found", asdict(needed_recipe(finding)), ("n_edges", "refused", "n"), ()
        case "faithful":
            return "circuit_worst", circuit, ("faithfulness", "n"), ()
        case "stable":
            recipe = needed_recipe(finding)
            given = {"method": recipe.method, "top": recipe.top, "by_position": recipe.by_position}
            return "circuit_stability", given, ("mean", "low", "n"), ("jaccard",)
        case "complete":
            return "circuit_score", circuit | {"way": "ablated"}, SCORE_READS, ("random",)
        case "both directions":
            return "circuit_score", circuit | {"way": "reverse"}, SCORE_READS, ("random",)
        case "second ablation":
            return "circuit_score", circuit | {"ablation": "mean"}, SCORE_READS, ("random",)
    return "circuit_score", circuit, SCORE_READS, ("random",)


def needed_recipe(finding: Finding) -> Recipe:
    if finding.recipe is None:
        raise FindingError(
            "This circuit was made by hand, so no method can find it again on other pairs; this check cannot be run."
        )
    return finding.recipe


def run_check(
    model: Model,
    finding: Finding,
    name: CheckName,
    sample: Sample,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> Measured:
    """Run a check.  `FindingError` for other weights than the finding's, and as the measure itself."""
    if model.info.weight_hash != finding.weight_hash:
        raise FindingError(
            f"{finding.model} has other weights now than when this was kept, so its checks would be of another model."
        )
    return measured(model, check_measure(finding, name, sample, seed), progress=progress, cancelled=cancelled)


def each_check(
    model: Model,
    finding: Finding,
    sample: Sample,
    names: Sequence[CheckName],
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] = never,
) -> Iterator[tuple[CheckName, Measured | ExplorerError]]:
    """Checks one after the other; one that cannot be run gives its error, and the others go on.  Ends early if cancelled."""
    for number, name in enumerate(names):

        def tell(share: float, words: str, number: int = number, name: str = name) -> None:
            if progress is not None:
                progress((number + share) / len(names), f"{name}: {words}")

        tell(0.0, "running")
        try:
            found = run_check(model, finding, name, sample, seed, tell, cancelled)
        except ExplorerError as error:
            yield name, error
            continue
        if cancelled():
            return
        finding = finding.with_check(found)
        yield name, found


def run_checks(
    model: Model,
    finding: Finding,
    sample: Sample,
    names: Sequence[CheckName] | None = None,
    seed: int = 0,
) -> Finding:
    """A finding with its checks run; those that cannot be run are left out."""
    for _, found in each_check(model, finding, sample, checks_of(finding) if names is None else names, seed):
        if isinstance(found, Measured):
            finding = finding.with_check(found)
    return finding
