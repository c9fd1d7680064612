"""The Streamlit application: pages on one workbench."""

import streamlit as st

from explorer.jobs.turns import Rank, taking_turn
from explorer.resources import assets_directory, pages_directory
from explorer.ui.gate import admitted
from explorer.ui.html import style
from explorer.ui.presenter import read_only

PAGES = (
    ("prompt.py", "Prompt", ":material/edit_note:"),
    ("attention.py", "Attention", ":material/grid_view:"),
    ("lens.py", "Lens", ":material/stacked_line_chart:"),
    ("attribution.py", "Attribution", ":material/balance:"),
    ("patching.py", "Patching", ":material/healing:"),
    ("circuits.py", "Circuits", ":material/account_tree:"),
    ("features.py", "Features", ":material/grain:"),
    ("superposition.py", "Superposition", ":material/scatter_plot:"),
    ("tasks.py", "Tasks", ":material/checklist:"),
    ("findings.py", "Findings", ":material/bookmarks:"),
    ("present.py", "Present", ":material/slideshow:"),
    ("learn.py", "Learn", ":material/school:"),
    ("history.py", "History", ":material/history:"),
)


def main() -> None:
    st.set_page_config(page_title="Circuit Explorer", page_icon=assets_directory() / "icon.svg", layout="wide")
    st.logo(assets_directory() / "logo.svg", size="large")
    style()
    if secret := st.query_params.get("share"):
        st.navigation([st.Page(lambda: read_only(secret), title="Findings")], position="hidden").run()
        return
    if not admitted():
        return
    folder = pages_directory()
    pages = [
        st.Page(folder / file, title=title, icon=icon, default=index == 0, url_path="" if index == 0 else title.lower())
        for index, (file, title, icon) in enumerate(PAGES)
    ]
    with taking_turn(Rank.PAGE):
        st.navigation(pages, expanded=True).run()


main()
