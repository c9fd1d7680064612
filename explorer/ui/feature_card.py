"""A feature's card: where it fires, what it writes and who reads it, its label and description, and what changing it does."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st
import torch

from explorer.core.sites import Feature
from explorer.features.dashboard import Dashboard, Example, feature_dashboard, prompt_acts
from explorer.features.index import FeatureIndex
from explorer.plots import feature_figures as plots
from explorer.prompts.tokens import visible
from explorer.ui import session
from explorer.ui.continuation import continuation_panel
from explorer.ui.data import data_menu
from explorer.ui.feature_act import feature_actions
from explorer.ui.feature_describe import description_panel, label_panel
from explorer.ui.feature_dictionaries import index_panel
from explorer.ui.feature_response import response_panel
from explorer.ui.feature_state import Opened, index_of, open_feature, open_the
from explorer.ui.heatmap import heatmap
from explorer.ui.html import grid, plain_label, safe_html, say
from explorer.ui.lines import line_chart
from explorer.ui.terms import help_for

GROUPS = {"top": "Strongest", "near miss": "Near misses"} | {
    f"interval {number}": f"{number} of 5" for number in range(5, 0, -1)
}


def card_view(page: Opened) -> None:
    feature = open_feature(page.desk.bench)
    if feature is None or feature.place != page.dictionary.place:
        st.info(
            "No feature of this dictionary is open. Click one under “On this prompt”, or look for one under “Find”.",
            icon=":material/info:",
        )
        return
    page.dictionary.feature(feature.index)
    index = index_of(page.desk.model, page.dictionary)
    found = None if index is None else feature_dashboard(page.desk.model, index, feature.index)
    st.subheader(str(feature), anchor=False)
    head(page, feature, found)
    on_prompt(page, feature)
    left, right = st.columns([3, 2], gap="large")
    with right:
        with st.container(border=True, key="card_act"):
            st.markdown("**Act on it**", help=help_for("clamp, steer", "error term"))
            feature_actions(page.desk, feature, "act_card", found.largest if found else 0.0)
        label_panel(page, feature)
        description_panel(page, feature, index)
        tables(page, found)
    with left:
        if index is None or found is None:
            st.info(
                "Examples and densities are read from an index of a text. This dictionary has none yet.",
                icon=":material/info:",
            )
            index_panel(page.desk.model, page.dictionary)
        else:
            examples_panel(found)
            histograms(found, index)
        response_panel(page, feature, index)
        continuation_panel(page.desk)


def on_prompt(page: Opened, feature: Feature) -> None:
    """Its activation at each token of the prompt that is shown, under the stack."""
    desk = page.desk
    runs = {"baseline": ()} | ({"changed": desk.stack} if desk.changed else {})
    rows = [
        prompt_acts(desk.model, page.dictionary, desk.tokens.text, desk.bench.bos, stack)[:, feature.index]
        for stack in runs.values()
    ]
    acts = torch.stack(rows, 1).float().numpy()
    st.markdown("**On this prompt**", help=help_for("activation (of a feature)"))
    heatmap(plots.features_on_prompt(acts, range(len(runs)), desk.tokens.texts, list(runs)), "card_prompt")


def head(page: Opened, feature: Feature, found: Dashboard | None) -> None:
    words = page.name(feature.index).partition(" ")[2]
    if words:
        say(words, "Called:")
    if found is None:
        return
    if found.largest == 0:
        st.warning(
            f"This feature fires nowhere in the {found.n_tokens:,} indexed tokens: it is dead, or its text is not among them.",
            icon=":material/bedtime:",
        )
        return
    tokens = ", ".join(f"{word!r} {share:.0%}" for word, share in found.top_tokens[:5])
    say(
        f"Fires at {found.density:.3%} of {found.n_tokens:,} tokens ({found.corpus}); mean {found.mean:.2f}, largest {found.largest:.2f}. By share of its activation: {tokens}."
    )


def examples_panel(found: Dashboard) -> None:
    st.markdown("**Examples**", help=help_for("feature examples"))
    if not found.examples:
        st.caption("There are none: it fires nowhere in the index.")
        return
    present = [group for group in GROUPS if any(each.group == group for each in found.examples)]
    chosen = st.segmented_control(
        "Group",
        present,
        default=present[0],
        required=True,
        format_func=GROUPS.__getitem__,
        label_visibility="collapsed",
        key="example_group",
    )
    shown = [each for each in found.examples if each.group == chosen]
    st.html(
        f"<div class='ce-examples'>{''.join(example_html(each, found.largest) for each in shown)}</div>{EXAMPLE_STYLE}"
    )
    data_menu("examples", lambda: example_frame(found.examples))


EXAMPLE_STYLE = """<style>
.ce-examples { font-family: "Source Code Pro", monospace; font-size: 0.85rem; line-height: 1.7; }
.ce-example { padding: 3px 0; border-top: 1px solid rgba(128,128,128,0.18); white-space: pre-wrap; overflow-wrap: anywhere; }
.ce-example b { font-weight: 600; outline: 1px solid rgba(224,123,0,0.8); border-radius: 3px; }
.ce-example span { border-radius: 3px; }
</style>"""


def example_html(each: Example, largest: float) -> str:
    parts = []
    for number, (token, act) in enumerate(zip(each.tokens, each.acts, strict=True)):
        shade = f"background:rgba(43,127,212,{0.12 + 0.7 * act / max(largest, 1e-9):.2f})" if act > 0 else ""
        tag = "b" if number == each.peak else "span"
        parts.append(f"<{tag} style='{shade}' title='{act:.2f}'>{safe_html(token)}</{tag}><wbr>")
    return f"<div class='ce-example'><span class='ce-dim'>{each.acts[each.peak]:.2f} </span>{''.join(parts)}</div>"


def example_frame(examples: Sequence[Example]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "group": each.group,
                "text": "".join(each.tokens),
                "token": each.tokens[each.peak],
                "activation": float(each.acts[each.peak]),
            }
            for each in examples
        ]
    )


def histograms(found: Dashboard, index: FeatureIndex) -> None:
    """How strongly it fires where it does, and how often beside the dictionary's other features."""
    strong, often = st.columns(2)
    if found.largest > 0:
        with strong:
            st.markdown("**Activations where it fires**", help=help_for("density (of a feature)"))
            line_chart(
                plots.histogram(*found.histogram, "activation", "tokens"), "activation_histogram", lambda at: None
            )
    with often:
        st.markdown("**Densities of the dictionary, its own marked**", help=help_for("density (of a feature)"))
        densities = index.table()["density"].to_numpy()
        line_chart(plots.density_histogram(densities, found.density), "density_histogram", lambda at: None)


def tables(page: Opened, found: Dashboard | None) -> None:
    if found is None:
        return
    if found.logits.promoted:
        st.markdown("**Tokens it promotes, and suppresses, directly**", help=help_for("logit effect (of a feature)"))
        rows = [
            [*signed(up), *signed(down)]
            for up, down in zip(found.logits.promoted, found.logits.suppressed, strict=True)
        ]
        st.html(grid(["promoted", "logits", "suppressed", "logits"], rows))
    writers, readers = st.columns(2)
    with writers:
        if found.written_by:
            st.markdown("**Written by**", help=help_for("written by, read by"))
            st.html(
                grid(["at its strongest place", "part"], [[name, f"{value:+.2f}"] for name, value in found.written_by])
            )
    with readers:
        if found.read_by:
            st.markdown("**Read by**", help=help_for("written by, read by"))
            st.html(grid(["weights alone", "gain"], [[name, f"{value:.2f}"] for name, value in found.read_by]))
    st.markdown(
        "**Decoder neighbours**", help="Features of this dictionary with the most similar decoder rows, by cosine."
    )
    with st.container(horizontal=True):
        for number, cosine in found.neighbours[:8]:
            name = page.name(number)[:24]
            st.button(
                plain_label(f"{name} ({cosine:.2f})"),
                key=f"neighbour_{number}",
                type="tertiary",
                **session.calling(open_the, page.dictionary.feature(number)),
            )


def signed(item: tuple[str, float]) -> list[str]:
    token, value = item
    return [visible(token), f"{value:+.2f}"]
