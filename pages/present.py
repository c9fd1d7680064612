"""Present: findings as ordered steps, with frozen numbers; each can be run again."""

from explorer.ui import desk, frame
from explorer.ui.presenter import presentation

bench = desk.open_page("Present")
presentation(bench.steps)
frame.foot("Present", None)
