"""What a lesson can check and ask, read off the learner's own workbench and run."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from explorer.analyses.activation_patching import activation_patching
from explorer.analyses.attention import HeadType, attention, head_scores
from explorer.analyses.lens import logit_lens
from explorer.circuits.evaluation import core_scores
from explorer.engine.contrasts import Direction, Stacks
from explorer.findings.finding import Finding
from explorer.findings.ladder import rung
from explorer.lessons.lesson import Condition
from explorer.metrics.objectives import Score
from explorer.ui.circuit_state import active_entries, chosen_pairs, runs_of
from explorer.ui.desk import Desk
from explorer.ui.findings_store import STORE
from explorer.ui.measures import circuit_on_screen
from explorer.ui.readers import read_head
from explorer.ui.state import Entry, Workbench, stack_of

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Learner:
    """What a learner looks at now."""

    title: str
    """Of the page."""
    bench: Workbench
    desk: Desk | None
    """None on pages that run nothing."""
    tag: str = ""
    """Of findings that this learner kept during a lesson."""
    since: str = ""
    """When the lesson was begun; what was kept before does not count."""

    def kept(self, place: str) -> list[Finding]:
        """The learner's own findings about a component."""
        return [
            finding
            for finding in STORE.findings(tag=self.tag)
            if place in finding.places and finding.made >= self.since
        ]


WORDS = {
    "on": "You are on the page {}",
    "model": "The model is {}",
    "head": "{} is open",
    "place": "The cell {} is open",
    "ablated": "On the list of interventions: {}",
    "untouched": "No intervention is on",
    "effect": "The effect is {} logits",
    "choice": "{}",
    "pinned": "{} is pinned",
    "edges": "The circuit has {} edges",
    "faithfulness": "The circuit's faithfulness is {}",
    "kept": "In this lesson you kept a finding about {}",
    "rung": "Your finding about that component stands on this rung or higher: {}",
}


def in_words(condition: Condition) -> str:
    """A check as the learner reads it."""
    return WORDS[condition.kind].format(condition.rest.replace("_", " "))


def at_work(bench: Workbench) -> list[Entry]:
    return [entry for entry in bench.entries if entry.enabled and entry.acts_on(bench.side)]


def is_ablated(learner: Learner, rest: str) -> bool:
    name, _, how = rest.partition(" ")
    return any(entry.name == name and (not how or entry.how == how) for entry in at_work(learner.bench))


def is_chosen(learner: Learner, rest: str) -> bool:
    name, _, value = rest.partition(" = ")
    return str(getattr(learner.bench, name, "")) == value


def stands_on(learner: Learner, rest: str) -> bool:
    place, _, number = rest.partition(" ")
    return any(rung(finding) >= int(number) for finding in learner.kept(place))


HOLDS: dict[str, Callable[[Learner, str], bool]] = {
    "on": lambda learner, rest: learner.title == rest,
    "model": lambda learner, rest: learner.bench.model == rest,
    "head": lambda learner, rest: str(learner.bench.head) == rest,
    "place": lambda learner, rest: learner.bench.place == rest,
    "ablated": is_ablated,
    "untouched": lambda learner, rest: not at_work(learner.bench),
    "choice": is_chosen,
    "pinned": lambda learner, rest: rest in map(str, learner.bench.pinned),
    "kept": lambda learner, rest: bool(learner.kept(rest)),
    "rung": stands_on,
}


def holds(condition: Condition, learner: Learner) -> bool:
    """Whether a check holds now; False where the page has nothing to read it from."""
    if condition.kind in HOLDS:
        return HOLDS[condition.kind](learner, condition.rest)
    sign, _, number = condition.rest.partition(" ")
    value = fact(condition.kind, "", learner)
    return value is not None and COMPARE[sign](value, float(number))


def fact(name: str, rest: str, learner: Learner) -> float | None:
    """A number of the learner's run; None where the page has none."""
    desk = learner.desk
    if desk is None:
        return None
    if name in PREDICTED:
        now, before = desk.prediction.changed, desk.prediction.baseline
        return None if now is None or before is None else PREDICTED[name](before, now)
    return MEASURED[name](desk, rest)


PREDICTED: dict[str, Callable[[Score, Score], float]] = {
    "effect": lambda before, now: now.objective - before.objective,
    "baseline": lambda before, now: before.objective,
    "changed": lambda before, now: now.objective,
    "probability": lambda before, now: now.answer_prob,
}


def attention_fact(desk: Desk, rest: str) -> float | None:
    name, dest, source = rest.split()
    head = read_head(name)
    patterns = attention(desk.model, desk.tokens.text, desk.stack, bos=desk.bench.bos).patterns
    if head.layer >= patterns.shape[0] or head.head >= patterns.shape[1]:
        return None
    return float(patterns[head.layer, head.head, desk.tokens.place(int(dest)), desk.tokens.place(int(source))])


def score_fact(desk: Desk, rest: str) -> float | None:
    name, _, kind = rest.partition(" ")
    head, grid = read_head(name), head_scores(desk.model)[0][cast("HeadType", kind)]
    return float(grid[head.layer, head.head]) if head.layer < grid.shape[0] and head.head < grid.shape[1] else None


def layer_fact(desk: Desk, _: str) -> float | None:
    if not desk.answer:
        return None
    ranks = logit_lens(desk.model, desk.tokens.text, desk.stack, answer=desk.answer, bos=desk.bench.bos).answer_rank
    first = np.flatnonzero(ranks[:, -1] == 1) if ranks is not None else np.array([])
    return float(first[0]) if len(first) else None


def patch_fact(desk: Desk, rest: str) -> float | None:
    name, _, way = rest.partition(" ")
    head = read_head(name)
    if not desk.answer or not desk.distractor or head.layer >= desk.model.info.n_layers:
        return None
    bench = desk.bench
    stacks = Stacks(*(tuple(stack_of(bench.entries, bench.pair, side)) for side in ("clean", "corrupt")))
    found = activation_patching(desk.model, bench.pair, "head_out", direction=cast("Direction", way), layers=[head.layer], interventions=stacks, bos=bench.bos)  # fmt: skip
    return float(found.raw[0, head.head]) if head.head < found.raw.shape[1] else None


def edges_fact(desk: Desk, _: str) -> float | None:
    shown = circuit_on_screen(desk) if desk.answer and desk.distractor else None
    return None if shown is None else float(shown.circuit.n_edges)


def faithfulness_fact(desk: Desk, _: str) -> float | None:
    """Under the interventions, on the baseline's scale, as the page shows it."""
    shown = circuit_on_screen(desk) if desk.answer and desk.distractor else None
    if shown is None:
        return None
    pairs = chosen_pairs(desk.bench, desk.model).pairs
    plain = runs_of(desk.bench, desk.model, pairs)
    runs = runs_of(desk.bench, desk.model, pairs, active_entries(desk.bench))
    return core_scores(runs, shown.circuit.mask()[None], *plain.ends())[0].faithfulness.value


MEASURED: dict[str, Callable[[Desk, str], float | None]] = {
    "attention": attention_fact,
    "score": score_fact,
    "layer of answer": layer_fact,
    "patch": patch_fact,
    "edges": edges_fact,
    "faithfulness": faithfulness_fact,
}
