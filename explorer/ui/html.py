"""HTML of our own, with every foreign string escaped."""

import html
import string

import pandas as pd
import streamlit as st

from explorer.prompts.tokens import visible

STYLE = """
<style>
[data-testid=stMainBlockContainer] { padding: 2.6rem 2.2rem 3rem; }
.ce-table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
.ce-table th { font-weight: 500; opacity: 0.65; text-align: right; padding: 2px 6px; white-space: nowrap; }
.ce-table td { text-align: right; padding: 3px 6px; border-top: 1px solid rgba(128,128,128,0.18); white-space: nowrap; }
.ce-table th:first-child, .ce-table td:first-child { text-align: left; }
.ce-table .ce-token { font-family: "Source Code Pro", monospace; white-space: pre; }
.ce-table .ce-bar { background: linear-gradient(to right, rgba(43,127,212,0.28) var(--fill), transparent var(--fill)); }
.ce-table .ce-up { color: #2b7fd4; } .ce-table .ce-down { color: #d97400; }
.ce-caption { font-size: 0.875rem; opacity: 0.62; line-height: 1.5; }
.ce-line { line-height: 1.5; }
.ce-dim { opacity: 0.6; }
.ce-scroll { overflow-x: auto; }
.ce-small { font-size: 0.8rem; } .ce-small td, .ce-small th { padding: 2px 3px; }
.ce-facts td:last-child { white-space: normal; overflow-wrap: anywhere; }
.ce-words td { white-space: normal; text-align: left; vertical-align: top; } .ce-words th { text-align: left; }
.ce-text { font-family: "Source Code Pro", monospace; font-size: 0.9rem; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.5; }
[class*="st-key-entry_"][class*="_row"], .st-key-strip_head, .st-key-alone_row { gap: 0.15rem; flex-wrap: nowrap; }
.st-key-alone_row > div:first-child { flex: 1 1 auto; min-width: 0; }
[class*="st-key-entry_"][class*="_row"] > div:first-child { flex: 1 1 auto; min-width: 0; }
[class*="st-key-entry_"][class*="_row"] .ce-caption { white-space: nowrap; }
[class*="st-key-entry_"] button, .st-key-strip_head button, .st-key-alone_row button { padding: 0 0.2rem; min-height: 1.6rem; }
.ce-text .ce-prompt { opacity: 0.5; }
</style>
"""


def style() -> None:
    """The style sheet of the tables below; once a page."""
    st.html(STYLE)


def safe_html(text: str) -> str:
    """Any text, with white space visible, as harmless HTML."""
    return html.escape(visible(text), quote=True)


def say(text: str, strong: str = "") -> None:
    """A line of small text that changes from run to run, as plain text behind a heading.

    (Streamlit's captions are Markdown, which the browser loads in parts: one whose text changes can hold the whole page's
    update back by 0.3 s.)
    """
    heading = f"<b>{html.escape(strong)}</b> " if strong else ""
    st.html(f"<div class='{'ce-line' if strong else 'ce-caption'}'>{heading}{html.escape(text)}</div>")


def in_time(seconds: float) -> str:
    """A span of time in words."""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def plain_label(text: str) -> str:
    """Any text as the label of a widget, which Streamlit reads as Markdown: its signs escaped."""
    return "".join(f"\\{sign}" if sign in string.punctuation else sign for sign in text.strip()) or "…"


def prediction_table(frame: pd.DataFrame, changed: bool) -> str:
    """Next tokens: baseline | changed | difference, with arrows for moves in rank."""
    if not changed:
        head = "<tr><th>next token</th><th>id</th><th>rank</th><th>logit</th><th>probability</th></tr>"
        return table(head, [baseline_row(row) for row in frame.itertuples()])
    head = "<tr><th>next token</th><th>id</th><th>rank</th><th></th><th>baseline</th><th>changed</th><th>difference</th></tr>"
    return table(head, [changed_row(row) for row in frame.itertuples()])


def table(head: str, rows: list[str]) -> str:
    return f"<table class='ce-table'>{head}{''.join(rows)}</table>"


def token_cells(row: object) -> str:
    return f"<td class='ce-token'>{safe_html(row.token)}</td><td class='ce-dim'>{row.token_id}</td>"  # type: ignore[attr-defined]


def baseline_row(row: object) -> str:
    prob = row.prob_changed  # type: ignore[attr-defined]
    return f"<tr>{token_cells(row)}<td>{row.rank_changed}</td><td>{row.logit_changed:.2f}</td>{bar(prob)}</tr>"  # type: ignore[attr-defined]


def changed_row(row: object) -> str:
    before, after = row.prob_baseline, row.prob_changed  # type: ignore[attr-defined]
    moved = row.rank_baseline - row.rank_changed  # type: ignore[attr-defined]
    difference = f"<td class='{'ce-up' if after >= before else 'ce-down'}'>{after - before:+.4f}</td>"
    return f"<tr>{token_cells(row)}<td>{row.rank_changed}</td>{arrow(moved)}{bar(before)}{bar(after)}{difference}</tr>"  # type: ignore[attr-defined]


def bar(prob: float) -> str:
    return f"<td class='ce-bar' style='--fill:{100 * prob:.1f}%'>{prob:.4f}</td>"


def arrow(moved: int) -> str:
    if moved == 0:
        return "<td class='ce-dim'>–</td>"
    return f"<td class='ce-up'>▲{moved:,}</td>" if moved > 0 else f"<td class='ce-down'>▼{-moved:,}</td>"


def facts(rows: dict[str, str]) -> str:
    """A two-column table of names and values."""
    body = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows.items()
    )
    return f"<table class='ce-table ce-facts'>{body}</table>"


def continuation(prompt: str, text: str) -> str:
    """A prompt, dimmed, and what the model wrote after it."""
    return f"<div class='ce-text'><span class='ce-prompt'>{html.escape(prompt)}</span>{html.escape(text)}</div>"


def grid(head: list[str], rows: list[list[str]], kind: str = "") -> str:
    """A plain table of texts; of kind "ce-words" where they are sentences."""
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='ce-scroll'><table class='ce-table ce-small {kind}'><tr>{names}</tr>{body}</table></div>"
