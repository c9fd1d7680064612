"""Findings: what was kept, how far each claim is shown, and reports that can be checked."""

from explorer.ui import desk, frame
from explorer.ui.findings import findings_page

desk.open_page("Findings")
findings_page()
frame.foot("Findings", None)
