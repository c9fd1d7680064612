"""Presenter: one finding a step, in large type, with the numbers as they were kept; next and previous by key."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from explorer.core.errors import ExplorerError, FindingError
from explorer.findings.finding import Finding, Measured
from explorer.findings.ladder import direction_words, failures
from explorer.findings.report import headline
from explorer.findings.words import number_words
from explorer.ui import desk, session
from explorer.ui.finding_detail import ladder, open_view
from explorer.ui.findings_store import STORE
from explorer.ui.html import grid, say
from explorer.ui.replay_panel import replayed

STEP = "_present_step"
SHOWN_NUMBERS = 4
LARGE = """
<style>
.ce-claim { font-size: clamp(1.8rem, 3.4vw, 3.2rem); font-weight: 650; line-height: 1.2; margin: 0.2rem 0 0.6rem; overflow-wrap: anywhere; }
.ce-step { font-size: 1.1rem; opacity: 0.7; } .ce-words { font-size: 1.25rem; line-height: 1.5; }
.ce-numbers { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; margin: 0.8rem 0; }
.ce-numbers b { display: block; font-size: 2.2rem; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.2; }
.ce-numbers span { font-size: 0.95rem; opacity: 0.7; }
</style>
"""
ALONE = "<style>[data-testid=stSidebar], [data-testid=stHeader], [data-testid=stExpandSidebarButton] { display: none; }</style>"


def presentation(steps: Sequence[str], live: bool = True) -> None:
    """The steps in order (none: all findings, oldest first).  Not `live`: for read-only links, where no model runs."""
    try:
        names = tuple(steps) or tuple(each.id for each in sorted(STORE.findings(), key=lambda each: each.made))
        if not names:
            st.info("Nothing to present yet: keep a finding on any page.", icon=":material/slideshow:")
            return
        at = min(st.session_state.get(STEP, 0), len(names) - 1)
        st.html(LARGE)
        controls(at, len(names))
        step(STORE.get(names[at]), at, live)
    except FindingError as error:
        desk.message("present_error", "This step cannot be shown.", error)


def controls(at: int, total: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="present_controls"):
        st.button("Previous", key="present_previous", icon=":material/arrow_back:", shortcut="Left", disabled=at == 0, **session.calling(go, at - 1))  # fmt: skip
        st.button("Next", key="present_next", icon=":material/arrow_forward:", shortcut="Right", type="primary", disabled=at == total - 1, **session.calling(go, at + 1))  # fmt: skip
        st.html(f"<span class='ce-step'>{at + 1} of {total}</span>")
        st.space("stretch")
        if st.toggle("Slide only", key="present_alone", help="Hide everything around the slide."):
            st.html(ALONE)


def go(to: int) -> None:
    st.session_state[STEP] = to


def step(finding: Finding, at: int, live: bool) -> None:
    if finding.question:
        st.html(f"<div class='ce-step'>{html.escape(finding.question)}</div>")
    st.html(f"<div class='ce-claim'>{html.escape(finding.claim)}</div>")
    ladder(finding)
    st.html(f"<div class='ce-words'>{html.escape(f'{headline(finding)}. {direction_words(finding)}')}</div>")
    cells = "".join(
        f"<div><b>{html.escape(number.value)}</b><span>{html.escape(number.name)}</span></div>"
        for number in key_numbers(finding)
    )
    st.html(f"<div class='ce-numbers'>{cells}</div>")
    say(f"Numbers as kept on {finding.changed} UTC, {finding.model}, weights {finding.weight_hash[:12]}…")
    causal = finding.check("intervened")
    shown = (*finding.views, causal) if causal is not None else finding.views
    figure = next((each.figure for each in reversed(shown) if each.figure), "")
    if figure:
        drawn = json.loads(figure)
        drawn["layout"]["font"] = {"size": 15}
        st.plotly_chart(drawn, key=f"present_figure_{finding.id}", config={"displaylogo": False})
    for name, sentence in failures(finding).items():
        st.text(f"✗ {name}: {sentence}")
    if finding.notes:
        st.text(finding.notes)
    if live:
        run_live(finding)


@dataclass(frozen=True)
class KeyNumber:
    name: str
    value: str


def key_numbers(finding: Finding) -> list[KeyNumber]:
    """What an audience needs: the causal effect with its interval and control where there is one, else the view's first numbers."""
    check = finding.check("intervened")
    if check is not None:
        return causal_numbers(check)
    found = [
        (measured, path, value)
        for measured in finding.views
        for path, value in measured.numbers.items()
        if value is not None
    ]
    return [
        KeyNumber(f"{path} · {measured.measure.title}", number_words(value))
        for measured, path, value in found[:SHOWN_NUMBERS]
    ]


def causal_numbers(check: Measured) -> list[KeyNumber]:
    numbers = check.numbers
    value = numbers.get("mean", numbers.get("value"))
    low, high, control = (numbers.get(name) for name in ("low", "high", "largest_control"))
    unit = "effect of taking it away, logits" if "mean" in numbers else "faithfulness of the circuit"
    shown = [KeyNumber(unit, "not defined" if value is None else f"{value:+.2f}")]
    if low is not None and high is not None:
        shown.append(KeyNumber("95 % interval over pairs", f"{low:+.2f} … {high:+.2f}"))
    if control is not None:
        shown.append(KeyNumber("largest of the matched random controls", f"{control:+.2f}"))
    return [*shown, KeyNumber("pairs", number_words(numbers.get("n")))]


def run_live(finding: Finding) -> None:
    """The same numbers now, beside those that were kept; and the page they were kept on."""
    rows = replayed(f"present_{finding.id}", "Run it live", (finding.id, finding.revision), (finding,))
    if rows is not None:
        agree = sum(row.agrees for row in rows)
        say(f"{agree} of {len(rows)} numbers come out as they were kept.", "Live:")
        st.html(grid(["measure", "number", "kept", "now", ""], [[row.measure, row.path, number_words(row.then), row.problem or number_words(row.now), "agrees" if row.agrees else "DIFFERS"] for row in rows[:30]]))  # fmt: skip
    if finding.address and st.button("Open on its page", key="present_open", icon=":material/open_in_new:"):
        open_view(finding)


def read_only(secret: str) -> None:
    """What a read-only link shows."""
    from explorer import access

    try:
        link = access.shared(secret)
    except ExplorerError as error:
        desk.message("share_error", "This link cannot be read.", error)
        return
    if link is None:
        st.info(
            "This link was withdrawn, or never was one. Ask whoever sent it for another.", icon=":material/link_off:"
        )
        return
    st.header(link.title.strip() or "Findings", anchor=False)
    presentation(link.findings, live=False)
