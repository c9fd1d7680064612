"""Learn: guided lessons that use the real pages, each step checked against the learner's own run."""

from explorer.ui import desk, frame
from explorer.ui.learn import learn_page

desk.open_page("Learn")
learn_page()
frame.foot("Learn", None)
