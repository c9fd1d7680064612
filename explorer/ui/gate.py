"""The door of the app: open on the loopback; elsewhere it asks for the access token or a login; read-only links see findings alone."""

import time
from pathlib import Path

import streamlit as st

from explorer import access
from explorer.core.errors import AccessError

ADMITTED = "_admitted"
WRONG_WAIT = 0.5
"""Seconds that a wrong token takes."""
_keeper = st.components.v2.component(
    "access", html="<span class='access'></span>", js=(Path(__file__).parent / "gate.js").read_text()
)


def open_to_all() -> bool:
    """Whether only this machine can reach the app."""
    return st.get_option("server.address") in access.LOOPBACK


def has_login() -> bool:
    """Whether Streamlit's own login (OIDC) is set up in .streamlit/secrets.toml."""
    try:
        return "auth" in st.secrets
    except (FileNotFoundError, KeyError, st.errors.StreamlitAPIException, st.errors.StreamlitSecretNotFoundError):
        return False


def admitted() -> bool:
    """Whether this browser may use the app; else what it needs is drawn."""
    if open_to_all() or st.session_state.get(ADMITTED):
        if token := st.session_state.pop("_token_to_keep", ""):
            _keeper(key="access_keeper", data={"keep": token})
        return True
    if has_login():
        return logged_in()
    st.title("Circuit Explorer", anchor=False)
    try:
        if not access.token_made():
            st.info(
                "This app answers on its own machine only. To open it to others, start it with: circuit-explorer serve --host 0.0.0.0",
                icon=":material/lock:",
            )
            return False
        return asked_for_token()
    except AccessError as error:
        st.error("The access token cannot be checked.", icon=":material/error:")
        st.text(str(error))
        return False


def logged_in() -> bool:
    if st.user.is_logged_in:
        return True
    st.title("Circuit Explorer", anchor=False)
    st.button("Log in", type="primary", on_click=st.login)
    return False


def asked_for_token() -> bool:
    kept = _keeper(key="access_keeper", data={"keep": ""}, on_token_change=lambda: None)
    remembered = getattr(kept, "token", None)
    if remembered and access.admits(str(remembered)):
        let_in("")
    with st.form("access_form", width=460):
        typed = st.text_input("Access token", type="password", key="access_token", help="The one that was shown when this app was first started for other machines.")  # fmt: skip
        if st.form_submit_button("Enter", type="primary"):
            if access.admits(typed):
                let_in(typed)
            time.sleep(WRONG_WAIT)
            st.error("This is not the token. Ask whoever started the app; a new one is made with: circuit-explorer serve --new-token", icon=":material/lock:")  # fmt: skip
    return False


def let_in(token: str) -> None:
    st.session_state[ADMITTED] = True
    st.session_state["_token_to_keep"] = token.strip()
    st.rerun()
