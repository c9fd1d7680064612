"""The token strip: every token with its position and id, white space visible; the other prompt's tokens below, aligned."""

from collections.abc import Callable

import streamlit as st

from explorer.prompts.pairs import columns
from explorer.prompts.tokens import Tokens, visible

SHOWN = 512
"""Tokens drawn; longer prompts say how many are hidden."""

STYLE = """
.strip { display: flex; flex-wrap: wrap; gap: 4px; font-family: var(--st-font); max-height: 320px; overflow-y: auto; padding: 2px; }
.column { display: flex; flex-direction: column; gap: 3px; }
.token, .twin { border: 1px solid color-mix(in srgb, var(--st-text-color) 22%, transparent); border-radius: 6px; padding: 2px 7px 3px;
  background: transparent; color: var(--st-text-color); text-align: center; font: inherit; min-height: 20px; }
.token { cursor: pointer; }
.twin { opacity: 0.55; padding: 1px 7px; }
.token:hover, .token:focus-visible, .token.linked { border-color: var(--st-primary-color); outline: none; }
.token[aria-pressed=true] { border-color: var(--st-primary-color); background: color-mix(in srgb, var(--st-primary-color) 16%, transparent); }
.token.bos { border-style: dashed; }
.differs .token, .differs .twin { border-color: #e07b00; }
.differs .twin { opacity: 1; background: color-mix(in srgb, #e07b00 14%, transparent); }
.text { display: block; font-family: var(--st-code-font, monospace); font-size: 14px; white-space: pre; unicode-bidi: isolate; }
.meta { display: block; font-size: 11px; opacity: 0.62; }
"""

SCRIPT = """
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const strip = parentElement.querySelector(".strip");
  const written = (element, name, text) => {
    const part = document.createElement("span");
    [part.className, part.textContent] = [name, text];
    element.append(part);
  };
  const point = (position) => window.dispatchEvent(new CustomEvent("ce-token", { detail: position === null ? null : { dest: position, source: position } }));
  strip.replaceChildren(...data.columns.map(({ token, twin, differs }) => {
    const column = document.createElement("div");
    column.className = differs ? "column differs" : "column";
    const button = document.createElement(token ? "button" : "div");
    button.className = token?.bos ? "token bos" : "token";
    column.append(button);
    if (token) {
      button.setAttribute("aria-pressed", String(token.position === data.selected));
      button.dataset.position = token.position;
      button.title = `position ${token.position}, id ${token.id}${token.bos ? ", beginning of sequence (BOS)" : ""}`;
      written(button, "text", token.text);
      written(button, "meta", `${token.position} · ${token.id}${token.bos ? " · BOS" : ""}`);
      button.onclick = () => setTriggerValue("position", token.position);
      button.onmouseenter = () => point(token.position);
      button.onmouseleave = () => point(null);
    }
    if (twin !== undefined) {
      const below = document.createElement("div");
      below.className = "twin";
      written(below, "text", twin ? twin.text : " ");
      if (twin) below.title = `other prompt, position ${twin.position}, id ${twin.id}`;
      column.append(below);
    }
    return column;
  }));
  window.removeEventListener("ce-token", strip.follow);
  strip.follow = ({ detail }) => {
    for (const button of strip.querySelectorAll(".token")) {
      const position = Number(button.dataset.position);
      button.classList.toggle("linked", Boolean(detail) && (position === detail.dest || position === detail.source));
    }
  };
  window.addEventListener("ce-token", strip.follow);
  return () => window.removeEventListener("ce-token", strip.follow);
}
"""

_strip = st.components.v2.component("token_strip", html="<div class=strip></div>", css=STYLE, js=SCRIPT)


def token_strip(
    tokens: Tokens, key: str, selected: int, on_click: Callable[[int], None], other: Tokens | None = None
) -> None:
    """Draw the tokens, and below them those of the `other` prompt; a click calls `on_click` with the position."""
    places = [(position, None) for position in range(len(tokens))] if other is None else columns(tokens, other)
    drawn = [column_of(tokens, other, *place) for place in places[:SHOWN]]

    def take() -> None:
        position = st.session_state[key].position
        if position is not None:
            on_click(int(position))

    _strip(key=key, data={"columns": drawn, "selected": selected}, on_position_change=take)
    if len(places) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(places):,} tokens are drawn; all are used.")


def column_of(tokens: Tokens, other: Tokens | None, above: int | None, below: int | None) -> dict[str, object]:
    """One token and, with another prompt, the one below it."""
    column: dict[str, object] = {"token": None if above is None else item(tokens, above), "differs": False}
    if other is not None:
        column["twin"] = None if below is None else item(other, below)
        column["differs"] = above is None or below is None or tokens.ids[above] != other.ids[below]
    return column


def item(tokens: Tokens, position: int) -> dict[str, object]:
    text, id_ = tokens.texts[position], tokens.ids[position]
    return {"text": visible(text), "id": id_, "position": position, "bos": position == 0 and tokens.has_bos}
