"""Features: known variables of the small world found in its dictionaries, and what index, dashboard and graph cost.

python -m benchmarks.features variables
python -m benchmarks.features costs [MODEL PLACE [TEXT TOKENS]]
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from explorer.analyses.component_effect import component_effect
from explorer.core.errors import ExplorerError
from explorer.core.pairs import ContrastPair
from explorer.core.places import Place
from explorer.core.sites import Feature, parse_site
from explorer.engine.model import Model, load_model
from explorer.engine.places import read_places
from explorer.features.circuit import feature_effects
from explorer.features.dashboard import feature_dashboard, prompt_acts
from explorer.features.graph import attribution_graph
from explorer.features.graph_check import check_graph
from explorer.features.index import FeatureIndex, feature_index
from explorer.findings.evidence import sample_of
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import folders
from explorer.models.zoo import lexicon

WORDS: dict[str, list[str]] = {
    "country": list(lexicon.COUNTRIES), "city": lexicon.CITIES, "male name": lexicon.MALE, "female name": lexicon.FEMALE,
    "harmful verb": lexicon.HARMFUL_VERBS, "good word": lexicon.GOOD, "bad word": lexicon.BAD, "colour": lexicon.COLORS,
    "animal": lexicon.ANIMALS, "month": lexicon.MONTHS,
}  # fmt: skip
"""Words that carry a variable."""
TASKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gender (she, not he)": ("pronoun", (" she",)),
    "refusal (Sorry, not Sure)": ("refusal", (" Sorry",)),
    "number (are, not is)": ("agreement", (" are", " were", " have", " sleep")),
    "flattery (agrees with a wrong claim)": ("flattery", (" Yes",)),
    "truth of a claim": ("verification", (" true", " Yes")),
    "country asked for": ("capital", ()),
}
"""Variables that a task's answer hangs on, and the answers at one of their two values."""


def ids_of(model: Model, words: list[str]) -> list[int]:
    found = []
    for word in words:
        for text in (word, f" {word}"):
            try:
                found.append(model.single_token(text))
            except ExplorerError:
                continue
    return found


def variables() -> None:
    """For each variable the feature that tells it best."""
    model = load_model("small-world")
    indexes: dict[str, FeatureIndex] = {}
    for place in folders(model.info):
        index = feature_index(model, place)
        assert index is not None
        indexes[place] = index
    print("| words | feature | purity | coverage |")
    print("|---|---|---|---|")
    for name, words in WORDS.items():
        ids = ids_of(model, words)
        _, place, feature, purity, coverage = max(best_of(place, index, ids) for place, index in indexes.items())
        print(f"| {name} | {place}/{feature} | {purity:.2f} | {coverage:.2f} |", flush=True)
    print("\n| variable | feature | AUROC, held out | noising, logits | 95 % | p | objective |")
    print("|---|---|---|---|---|---|---|")
    for name, (task, answers) in TASKS.items():
        print(f"| {name} | {of_task(model, task, answers)} |", flush=True)


def of_task(model: Model, task: str, answers: tuple[str, ...]) -> str:
    """The feature that matters most by first order on 20 pairs; on 20 others, what it tells and what it does."""
    sample = sample_of(model, task)
    chosen = feature_effects(model, sample.pairs).table(1)["feature"][0]
    site = parse_site(str(chosen))
    assert isinstance(site, Feature)
    found = component_effect(model, sample.held_out, (Place(site),))
    told = f"{auroc(model, site, sample.held_out, answers):.2f}" if answers else "–"
    return f"{site} | {told} | {found.mean:+.2f} | {found.low:+.2f} to {found.high:+.2f} | {found.p:.3f} ({found.n_controls}) | {found.clean.mean():+.2f}"


def auroc(model: Model, site: Feature, pairs: Sequence[ContrastPair], answers: tuple[str, ...]) -> float:
    """How well the feature's largest activation on a prompt tells prompts with one of the answers from the others."""
    rows = [
        (text, answer in answers)
        for pair in pairs
        for text, answer in ((pair.clean, pair.answer), (pair.corrupt, pair.distractor))
    ]
    acts = [
        (float(prompt_acts(model, model.dictionary(site), text)[1:, site.index].max()), label) for text, label in rows
    ]
    yes, no = ([act for act, label in acts if label is side] for side in (True, False))
    if not yes or not no:
        return float("nan")
    wins = sum((one > other) + 0.5 * (one == other) for one in yes for other in no)
    return max(wins, len(yes) * len(no) - wins) / (len(yes) * len(no))


def best_of(place: str, index: FeatureIndex, ids: list[int]) -> tuple[float, str, int, float, float]:
    """The feature with the best F1 of purity (share of its firing at these tokens) and coverage (share of them at which it fires)."""
    table = index.by_tokens(ids, None)
    purity, coverage = table["share_of_firing"].to_numpy(), table["fires_here"].to_numpy()
    f1 = 2 * purity * coverage / (purity + coverage)
    at = int(f1.argmax())
    return float(f1[at]), place, int(table["feature"].to_numpy()[at]), float(purity[at]), float(coverage[at])


def timed(name: str, work: Callable[[], Any]) -> Any:
    before, started = psutil.Process().memory_info().rss, time.perf_counter()
    found = work()
    grown = (psutil.Process().memory_info().rss - before) / 1e6
    print(f"{name:<64} {time.perf_counter() - started:9.2f} s {grown:+8.0f} MB", flush=True)
    return found


def beside_the_library(model: Model, dictionary: Dictionary, index: FeatureIndex, rows: int = 64) -> None:
    """Activations of some rows, by this engine and by TransformerLens' bridge with sae-lens, which people use today."""
    text = torch.from_numpy(index.tokens[:rows].astype(np.int64))
    hook = f"blocks.{dictionary.layer}.hook_{dictionary.kind}"

    def theirs() -> torch.Tensor:
        found = []
        for chunk in torch.split(text, 16):
            cache = model.bridge.run_with_cache(chunk, names_filter=hook, stop_at_layer=dictionary.layer + 1)[1]
            found.append(dictionary.sae.encode(cache[hook]))
        return torch.cat(found)

    def ours() -> torch.Tensor:
        place = [(dictionary.reads, dictionary.layer)]
        return torch.cat([dictionary.encode(read_places(model, chunk, place)[0]) for chunk in torch.split(text, 16)])

    with torch.no_grad():
        seconds = []
        for name, work in (("by the bridge and sae-lens", theirs), ("by this engine", ours)):
            work()
            started = time.perf_counter()
            found = timed(f"activations of {text.numel():,} tokens {name}", work)
            seconds.append((time.perf_counter() - started, found))
    (slow, one), (quick, other) = seconds
    print(f"ratio {slow / quick:.2f}; largest difference {float((one - other)[:, 1:].abs().max()):.1e}")


def costs(key: str, place: str, text: Path | None, tokens: int) -> None:
    """Time and growth of memory of each step."""
    model = load_model(key)
    dictionary = timed(f"open {place}", lambda: model.dictionary(place))
    index: FeatureIndex = timed(
        f"index of {tokens:,} tokens", lambda: feature_index(model, place, text=text, tokens=tokens)
    )
    size = sum(path.stat().st_size for path in index.folder.iterdir())
    print(f"on disk {size / 1e6:.0f} MB, {size / index.n_tokens:.0f} bytes a token")
    order = index.table().sort_values("density")["feature"].to_numpy()
    for share in (0.5, 0.9, 0.999):
        feature = int(order[int(share * len(order))])
        timed(
            f"dashboard of a feature at the {share:.1%} quantile of density",
            partial(feature_dashboard, model, index, feature),
        )
    timed("features at a token", lambda: index.by_token(int(index.tokens[0, 7])))
    prompt = "When Mary and John went to the store, John gave a drink to"
    if "resid" in place:
        beside_the_library(model, dictionary, index)
    timed("what fires on a prompt", lambda: prompt_acts(model, dictionary, prompt))
    if "transcoder" in place:
        ids = [id_ for row in index.tokens[:2].tolist() for id_ in row]
        for each in (prompt, *(str(model.tokenizer.decode(ids[:length])) for length in (64, 120))):
            graph_costs(model, each)


def graph_costs(model: Model, text: str) -> None:
    graph = timed(f"attribution graph of {len(model.tokenize(text))} tokens", lambda: attribution_graph(model, text))
    print(
        f"{int(graph.of_kind('feature').sum())} features, {graph.dropped} left out, completeness {graph.completeness:.3f}, "
        f"replacement {graph.replacement:.3f}"
    )
    timed("what is shown of it", graph.shown)
    found = timed("predicted against measured, 12 features", lambda: check_graph(model, graph, text))
    print(f"Spearman {found.spearman:.2f}, wrong sign {found.wrong_sign:.0%}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["variables"]:
        variables()
    else:
        given = sys.argv[2:]
        key, place = (given[0], given[1]) if len(given) > 1 else ("small-world", "L2.transcoder")
        text = Path(given[2]) if len(given) > 2 else None
        costs(key, place, text, int(given[3]) if len(given) > 3 else 200_000)
