"""Workbench to address and back.  Readable, versioned; what cannot be read is named, never guessed.

    ?v=2&model=smollm2&clean=When+Mary…&answer=+Mary&do=L23H3:zero&do=L5.mlp_out:scale:3,4:x0.5:clean:off

`do` is one intervention, in the order of the stack: site : how, then as needed positions, x and a factor, the prompt that
it acts on alone, and off.  Version 1 knew fewer of these, so its addresses read as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, get_args
from urllib.parse import urlencode

from explorer.analyses.lens import LensKind
from explorer.analyses.path_patching import Between
from explorer.analyses.token_attribution import TokenBaseline
from explorer.analyses.weighted_attention import Weighting
from explorer.circuits.edge_scores import Method
from explorer.core.errors import ExplorerError, StateError
from explorer.core.pairs import ContrastPair
from explorer.core.places import ARROW, parse_edge
from explorer.core.sites import parse_receiver, parse_sender, parse_site
from explorer.engine.interventions import AblationKind
from explorer.engine.sweep_plan import SweepSite
from explorer.plots.attention_figures import GridColor
from explorer.plots.lens_figures import LensMode
from explorer.plots.patching_figures import EffectScale
from explorer.prompts.tokens import Bos
from explorer.ui.readers import (
    MAX_PLACES,
    groups_reader,
    one_of,
    read_component,
    read_count,
    read_dictionary,
    read_edits,
    read_feature,
    read_graph_node,
    read_head,
    read_heads,
    read_item,
    read_job,
    read_labels,
    read_method,
    read_name,
    read_notes,
    read_number,
    read_place,
    read_places,
    read_positions,
    read_switch,
    read_task,
    read_text,
    shown,
    whole,
    write_groups,
    write_labels,
)
from explorer.ui.state import (
    WITH_NUMBER,
    ActsOn,
    CircuitMode,
    CircuitPairs,
    CircuitView,
    Corruption,
    Entry,
    FeatureView,
    FindBy,
    How,
    KeepBy,
    LensOf,
    LensScale,
    PatchDirection,
    PatchView,
    Show,
    Side,
    Workbench,
)

VERSION = "2"
OLDER = ("1",)
"""Versions whose addresses this one reads whole."""
RENAMED = {"score": "color"}
"""What older versions called a choice."""
MAX_TEXT, MAX_ENTRIES, MAX_LEARNER = 200_000, 200, 30
LONGEST_ADDRESS, LEFT_OUT = 12_000, "left_out"
"""Characters of an address that every browser and server takes; and the part that says what is not in it."""
PAIR_FIELDS = tuple(field.name for field in fields(ContrastPair))

Params = Mapping[str, Sequence[str]]


def to_params(bench: Workbench) -> dict[str, list[str]]:
    """Query parameters of a workbench: model and prompts always, other choices where they differ from the default."""
    params = {"v": [VERSION], "model": [bench.model]}
    params |= {name: [text] for name in PAIR_FIELDS if (text := getattr(bench.pair, name)) or name == "clean"}
    if bench.entries:
        params["do"] = [write_entry(entry) for entry in bench.entries]
    plain = Workbench()
    for name in READERS:
        if (value := getattr(bench, name)) != getattr(plain, name):
            params[name] = [WRITERS.get(name, str)(value)]
    return params


def in_address(bench: Workbench) -> dict[str, list[str]]:
    """The query parameters that an address line can hold: without the prompts where these are too long."""
    params = to_params(bench)
    if len(urlencode(params, doseq=True)) <= LONGEST_ADDRESS:
        return params
    return {name: found for name, found in params.items() if name not in PAIR_FIELDS} | {LEFT_OUT: ["prompts"]}


def from_params(params: Params) -> tuple[Workbench, list[str]]:
    """A workbench and the list of what could not be read.  Empty parameters give the opening workbench."""
    if not params:
        return Workbench(), []
    notes: list[str] = []
    version = last(params, "v") or VERSION
    if version not in (VERSION, *OLDER):
        notes.append(f"The address was written by version {shown(version)}; this is {VERSION}. What it shares is kept.")
    params = {RENAMED.get(name, name) if version in OLDER else name: found for name, found in params.items()}
    bench = replace(Workbench(), model=last(params, "model") or Workbench().model, pair=read_pair(params, notes))
    for name, reader in READERS.items():
        text = last(params, name)
        if text is not None:
            try:
                bench = replace(bench, **{name: reader(text)})
            except (ValueError, ExplorerError) as error:
                notes.append(f"{name}: {error}")
    if LEFT_OUT in params:
        notes.append(
            "the prompts were too long for the address, so it does not hold them; another pair stands in their place"
        )
    unknown = sorted(set(params) - {"v", "model", "do", LEFT_OUT, *PAIR_FIELDS, *READERS})
    notes += [f"unknown part {shown(name)}" for name in unknown]
    return bench.with_entries(read_entries(params.get("do", ()), notes)), notes


def read_pair(params: Params, notes: list[str]) -> ContrastPair:
    """The prompts of an address; an address without a clean prompt keeps the opening pair."""
    found = {name: text for name in PAIR_FIELDS if (text := last(params, name)) is not None}
    for name, text in list(found.items()):
        if len(text) > MAX_TEXT:
            notes.append(f"{name}: {len(text):,} characters; at most {MAX_TEXT:,} are read from an address")
            del found[name]
    return ContrastPair(**found) if "clean" in found else Workbench().pair


def read_entries(texts: Sequence[str], notes: list[str]) -> tuple[Entry, ...]:
    entries = []
    for text in texts[:MAX_ENTRIES]:
        try:
            entries.append(read_entry(text))
        except ExplorerError as error:
            notes.append(f"intervention {shown(text)}: {error}")
    if len(texts) > MAX_ENTRIES:
        notes.append(f"{len(texts) - MAX_ENTRIES} interventions beyond the first {MAX_ENTRIES}")
    return tuple(entries)


def write_entry(entry: Entry) -> str:
    parts = [entry.name, entry.how]
    if entry.positions is not None:
        parts.append(",".join(map(str, entry.positions)))
    if entry.how in WITH_NUMBER:
        parts.append(f"x{entry.factor!r}")
    if entry.on != "both":
        parts.append(entry.on)
    if not entry.enabled:
        parts.append("off")
    return ":".join(parts)


def read_entry(text: str) -> Entry:
    """The entry of `site:how[:positions][:x0.5][:clean|corrupt][:off]`; `StateError` for anything else."""
    name, how, *rest = [*text.split(":"), ""] if ":" not in text else text.split(":")
    site = parse_edge(name).edge if ARROW in name else parse_site(name)
    found: dict[str, Any] = {"site": site, "how": one_of(How)(how)}
    for part in rest:
        field, value = read_part(part)
        if field in found:
            raise StateError("expected site:how[:positions][:x0.5][:clean or corrupt][:off]")
        found[field] = value
    return Entry(**found)


def read_part(part: str) -> tuple[str, Any]:
    """Which field of an entry a part sets, and to what."""
    if part == "off":
        return "enabled", False
    if part in get_args(ActsOn):
        return "on", part
    if part.startswith("x"):
        return "factor", read_number(part[1:], -1e6, 1e6)
    return "positions", read_positions(part)


def last(params: Params, name: str) -> str | None:
    found = params.get(name)
    return found[-1] if found else None


READERS: dict[str, Callable[[str], Any]] = {
    "bos": one_of(Bos),
    "side": one_of(Side),
    "position": whole(0, 999_999),
    "show": one_of(Show),
    "head": read_head,
    "pinned": read_heads,
    "color": one_of(GridColor),
    "weighting": one_of(Weighting),
    "source": whole(0, 999_999),
    "lens": one_of(LensKind),
    "lens_of": one_of(LensOf),
    "lens_mode": one_of(LensMode),
    "lens_layer": whole(0, 9_999),
    "lens_from": whole(0, 9_999),
    "lens_to": whole(0, 9_999),
    "lens_find": read_text,
    "follow": read_text,
    "scale": one_of(LensScale),
    "component": read_component,
    "token_baseline": one_of(TokenBaseline),
    "patch_view": one_of(PatchView),
    "patch_site": one_of(SweepSite),
    "by_position": read_switch,
    "patch_layer": whole(0, 9_999),
    "direction": one_of(PatchDirection),
    "effect_scale": one_of(EffectScale),
    "corruption": one_of(Corruption),
    "noise_at": read_positions,
    "noise_scale": lambda text: read_number(text, 0.0, 100.0),
    "draws": whole(1, 50),
    "place": read_place,
    "collected": read_places,
    "circuit": read_places,
    "circuit_view": one_of(CircuitView),
    "circuit_method": read_method,
    "circuit_pairs": one_of(CircuitPairs),
    "circuit_positions": read_switch,
    "circuit_by": one_of(KeepBy),
    "circuit_keep": whole(1, 100),
    "circuit_top": whole(1, 999_999),
    "circuit_threshold": lambda text: read_number(text, 0.0, 100.0),
    "circuit_target": whole(1, 999_999),
    "circuit_edits": read_edits,
    "circuit_groups": groups_reader(lambda node: str(parse_sender(node))),
    "circuit_labels": read_labels,
    "circuit_notes": read_notes,
    "circuit_item": read_item,
    "circuit_mode": one_of(CircuitMode),
    "circuit_rest": one_of(AblationKind),
    "circuit_other": one_of(Method),
    "feature_view": one_of(FeatureView),
    "dictionary": read_dictionary,
    "feature": read_feature,
    "find_by": one_of(FindBy),
    "feature_find": read_text,
    "graph_share": whole(1, 100),
    "graph_node": read_graph_node,
    "graph_groups": groups_reader(read_graph_node),
    "sender": lambda text: str(parse_sender(text)),
    "receivers": lambda text: tuple(str(parse_receiver(name)) for name in text.split(",")[:MAX_PLACES] if name),
    "path_mlps": one_of(Between),
    "path_norms": one_of(Between),
    "job": read_job,
    "finding": read_job,
    "steps": lambda text: tuple(dict.fromkeys(read_job(name) for name in text.split(",")[:MAX_PLACES])),
    "lesson": read_name,
    "learner": lambda text: " ".join(text.split())[:MAX_LEARNER] or Workbench().learner,
    "task": read_task,
    "n_pairs": read_count,
    "task_seed": whole(0, 999_999),
    "held_out": read_switch,
    "only_right": read_switch,
    "n_new": whole(1, 50),
    "temperature": lambda text: read_number(text, 0.0, 2.0),
    "seed": whole(0, 999_999_999),
}
"""How each choice of a page is read."""
LISTS = ("steps", "pinned", "noise_at", "collected", "circuit", "receivers", "circuit_edits")
WRITERS: dict[str, Callable[[Any], str]] = {name: lambda items: ",".join(map(str, items)) for name in LISTS} | {
    "circuit_groups": write_groups,
    "circuit_labels": write_labels,
    "graph_groups": write_groups,
}
"""How a choice is written, where `str` would not do."""
