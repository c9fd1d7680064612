"""Copy link, the list of keys (`?`), and the tour: one small component at the foot of the sidebar."""

from pathlib import Path

import streamlit as st

KEYS = (
    ("arrow keys", "walk a chart that has the focus: heads, layers, tokens"),
    ("Enter", "open the cell that was walked to"),
    ("Ctrl / Cmd + click or Enter", "pin a head beside the others; collect cells to patch together"),
    ("g held + click", "group nodes of a circuit; there, e walks a node's edges, / finds, 0 fits"),
    ("← →", "the previous and the next step of a presentation"),
    ("Esc", "clear the selection; close a panel"),
    ("Z, Shift + Z", "undo, redo"),
    ("Tab", "next control or chart"),
    ("?", "this list"),
)
STEPS = (
    (
        "A workbench",
        "Model, a pair of prompts, and what you change: every page shows the run under your changes, beside the baseline.",
    ),
    (
        "Effect",
        "At the top of this sidebar: the objective, logit(answer) − logit(distractor), without and with your interventions.",
    ),
    (
        "Attention",
        "Open Attention and click a head: choose Zero, Mean, Patch or Freeze. It lands on the list below the effect.",
    ),
    (
        "Interventions",
        "Each line has a switch, its own effect, an editor and undo. The address holds everything: copy it to share.",
    ),
    (
        "Lens, Attribution, Patching",
        "What each layer would predict, which components write the answer, and what changes when one takes its value from the other prompt.",
    ),
    (
        "Circuits",
        "Find the edges that carry an answer, cut them by hand, and see how far the circuit does what the model does, beside random ones.",
    ),
    (
        "Findings, Present, Learn",
        "Keep any view under a claim in your words; its checks say how far it is shown. Report it, present it, or learn by doing in eight lessons.",
    ),
    (
        "Looking is not doing",
        "Where a head looks is no cause. Effects, matched controls and the causal check tell them apart; the ? beside a number says what it is.",
    ),
)
HTML = """
<div class="assist">
  <div class="row">
    <button class="copy" title="Copy this page's address: it holds model, prompts, interventions and choices">Copy link</button>
    <button class="show-keys" title="Keys (?)">Keys</button>
    <button class="show-tour" title="A tour in eight steps">Tour</button>
  </div>
  <div class="keys card" role="dialog" aria-label="Keys" tabindex="-1" hidden>
    <button class="close" aria-label="Close">×</button><b>Keys</b><dl></dl>
  </div>
  <div class="tour card" role="dialog" aria-label="Tour" tabindex="-1" hidden>
    <button class="close" aria-label="Close">×</button><b class="title"></b><p class="body"></p>
    <div class="row"><button class="back">Back</button><button class="next">Next</button></div>
  </div>
</div>
"""
CSS = """
.assist { color: var(--st-text-color); font: 13px var(--st-font); }
.assist .row { display: flex; gap: 6px; flex-wrap: wrap; }
.assist button { font: inherit; color: inherit; padding: 3px 10px; border-radius: 6px; cursor: pointer; background: transparent;
  border: 1px solid color-mix(in srgb, var(--st-text-color) 25%, transparent); }
.assist button:hover:enabled, .assist button:focus-visible { border-color: var(--st-primary-color); outline: none; }
.assist button:disabled { opacity: 0.4; cursor: default; }
.assist .card { position: relative; margin-top: 8px; padding: 10px 12px; border-radius: 8px; outline: none;
  border: 1px solid var(--st-primary-color); background: color-mix(in srgb, var(--st-primary-color) 8%, transparent); }
.assist .close { position: absolute; right: 6px; top: 6px; padding: 0 7px; border: none; }
.assist dl { display: grid; grid-template-columns: auto 1fr; gap: 3px 10px; margin: 6px 0 0; }
.assist dt { font-weight: 600; } .assist dd { margin: 0; opacity: 0.85; }
.assist p { margin: 6px 0 8px; line-height: 1.45; }
"""
_assist = st.components.v2.component("assist", html=HTML, css=CSS, js=(Path(__file__).parent / "assist.js").read_text())


def assist(tour: bool) -> None:
    """Draw it; with `tour`, a browser that was never here is shown the tour."""
    steps = [{"title": title, "text": text} for title, text in STEPS]
    _assist(key="assist", data={"keys": [list(row) for row in KEYS], "steps": steps, "tour": tour})
