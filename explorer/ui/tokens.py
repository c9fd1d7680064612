"""The token strip: every token with its position and id, white space visible; a click chooses the position."""

from collections.abc import Callable

import streamlit as st

from explorer.prompts.tokens import Tokens, visible

SHOWN = 512
"""Tokens drawn; longer prompts say how many are hidden."""

STYLE = """
.strip { display: flex; flex-wrap: wrap; gap: 4px; font-family: var(--st-font); max-height: 260px; overflow-y: auto; padding: 2px; }
.token { border: 1px solid color-mix(in srgb, var(--st-text-color) 22%, transparent); border-radius: 6px; padding: 2px 7px 3px;
  background: transparent; color: var(--st-text-color); cursor: pointer; text-align: center; font: inherit; }
.token:hover, .token:focus-visible { border-color: var(--st-primary-color); outline: none; }
.token[aria-pressed=true] { border-color: var(--st-primary-color); background: color-mix(in srgb, var(--st-primary-color) 16%, transparent); }
.token.bos { border-style: dashed; }
.text { display: block; font-family: var(--st-code-font, monospace); font-size: 14px; white-space: pre; }
.meta { display: block; font-size: 11px; opacity: 0.62; }
"""

SCRIPT = """
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const strip = parentElement.querySelector(".strip");
  strip.replaceChildren(...data.tokens.map((token) => {
    const button = document.createElement("button");
    button.className = token.bos ? "token bos" : "token";
    button.setAttribute("aria-pressed", String(token.position === data.selected));
    button.title = `position ${token.position}, id ${token.id}${token.bos ? ", beginning of sequence (BOS)" : ""}`;
    for (const [name, text] of [["text", token.text], ["meta", `${token.position} · ${token.id}${token.bos ? " · BOS" : ""}`]]) {
      const part = document.createElement("span");
      part.className = name;
      part.textContent = text;
      button.append(part);
    }
    button.onclick = () => setTriggerValue("position", token.position);
    return button;
  }));
}
"""

_strip = st.components.v2.component("token_strip", html="<div class=strip></div>", css=STYLE, js=SCRIPT)


def token_strip(tokens: Tokens, key: str, selected: int, on_click: Callable[[int], None]) -> None:
    """Draw the tokens; a click calls `on_click` with the position."""
    items = [
        {"text": visible(text), "id": id_, "position": position, "bos": position == 0 and tokens.has_bos}
        for position, (id_, text) in enumerate(zip(tokens.ids, tokens.texts, strict=True))
    ]

    def take() -> None:
        position = st.session_state[key].position
        if position is not None:
            on_click(int(position))

    _strip(key=key, data={"tokens": items[:SHOWN], "selected": selected}, on_position_change=take)
    if len(items) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(items):,} tokens are drawn; all are used.")
