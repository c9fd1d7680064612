"""Superposition: a toy model that packs more features than it has dimensions, and a dictionary that takes them apart again."""

from explorer.ui import desk, lesson_panel
from explorer.ui.superposition import superposition_page

desk.open_page("Superposition")
superposition_page()
lesson_panel.lesson_panel("Superposition", None)
