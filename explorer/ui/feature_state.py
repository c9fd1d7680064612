"""What the Features page works with: the model's dictionaries, the one that is open, its index and labels."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from explorer.core.errors import DictionaryError, ExplorerError, ShelfError
from explorer.core.sites import Feature, parse_site
from explorer.engine.interventions import Stack
from explorer.engine.model import Model
from explorer.features.graph import AttributionGraph, attribution_graph, transcoders_of
from explorer.features.index import ABOUT, FeatureIndex, index_folder, open_index
from explorer.features.labels import Label, Labels
from explorer.models.dictionary import Dictionary
from explorer.models.dictionary_files import folders
from explorer.models.info import Progress
from explorer.ui import session
from explorer.ui.desk import Desk
from explorer.ui.state import Workbench


@dataclass(frozen=True)
class Opened:
    """The dictionary that is open."""

    desk: Desk
    dictionary: Dictionary
    labels: dict[int, Label]

    def name(self, index: int) -> str:
        """A feature as the page calls it: its number, and its label or description if it has one."""
        found = self.labels.get(index, Label())
        words = found.label or found.description
        return f"{index} {words}".strip()


def places_of(model: Model) -> list[str]:
    return list(folders(model.info))


def shown_place(bench: Workbench, model: Model) -> str:
    """The place whose dictionary is shown: the chosen one, else the open feature's, else the first."""
    found = places_of(model)
    feature = open_feature(bench)
    wanted = bench.dictionary or (feature.place if feature else "")
    if wanted in found:
        return wanted
    return found[0] if found else ""


def open_feature(bench: Workbench) -> Feature | None:
    if not bench.feature:
        return None
    site = parse_site(bench.feature)
    return site if isinstance(site, Feature) else None


def opened(desk: Desk) -> Opened:
    """`DictionaryError` where the model has no dictionary, or the one that is chosen does not fit."""
    place = shown_place(desk.bench, desk.model)
    if not place:
        raise DictionaryError(
            f"{desk.model.info.title} has no dictionary yet. Add or train one under “Dictionaries”, or choose small-world or smollm2, "
            "which come with some."
        )
    dictionary = desk.model.dictionary(place)
    return Opened(desk, dictionary, labels_of(dictionary))


def labels_of(dictionary: Dictionary) -> dict[int, Label]:
    try:
        return Labels(dictionary).all()
    except ShelfError:
        return {}


def open_the(feature: Feature) -> None:
    """Open a feature's card."""
    session.update(feature=str(feature), dictionary=feature.place, feature_view="Feature")


def index_of(model: Model, dictionary: Dictionary) -> FeatureIndex | None:
    """The dictionary's index; None where there is none that is whole."""
    folder = index_folder(model, dictionary)
    try:
        stamp = (folder / ABOUT).stat().st_mtime_ns
        return _index(folder, dictionary, stamp, len(list(folder.glob("shard-*"))))
    except (OSError, ExplorerError):
        return None


@lru_cache(maxsize=12)
def _index(folder: Path, dictionary: Dictionary, stamp: int, shards: int) -> FeatureIndex:
    return open_index(folder, dictionary)


def graph_of(desk: Desk, stack: Stack, progress: Progress | None = None) -> AttributionGraph:
    """The attribution graph of the shown prompt under a stack: made once, whoever asks for it."""
    model, text, bos = desk.model, desk.tokens.text, desk.bench.bos
    found: AttributionGraph = model.remember(
        ("attribution_graph", *graph_inputs(desk), stack),
        lambda: attribution_graph(model, text, interventions=stack, bos=bos, progress=progress),
        lambda made: made.edges.nbytes,
    )
    return found


def graph_inputs(desk: Desk) -> tuple[Hashable, ...]:
    """What the graph is of, but for the stack."""
    transcoders = (each.identity for each in transcoders_of(desk.model))
    return (desk.model.identity, *transcoders, desk.tokens.text, desk.bench.bos)


def all_labels(model: Model) -> dict[str, str]:
    """What features of all the model's dictionaries are called: site -> words."""
    found: dict[str, str] = {}
    for place in places_of(model):
        try:
            named = labels_of(model.dictionary(place))
        except ExplorerError:
            continue
        found |= {f"{place}/{index}": each.label or each.description for index, each in named.items()}
    return found
