"""Notebooks: valid files whose cells, run in a process of their own, reproduce the numbers; and say so where they do not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import explorer as ex
from explorer.findings.finding import Measure, Measured
from explorer.findings.notebook import expression, notebook
from explorer.ui.frame import page_notebook
from tests.conftest import PROMPT, TWIN

ROOT = Path(__file__).parents[2]
PAIR = ex.ContrastPair(PROMPT, TWIN, " Mary", " John")


def run_cells(text: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """The code cells, one after the other, in a fresh interpreter and an empty folder."""
    cells = json.loads(text)["cells"]
    (folder / "cells.py").write_text(
        "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "cells.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.unit
@pytest.mark.parametrize(
    "value",
    [
        ex.Ablate(ex.Head(2, 3), "mean", (1, 4), (PROMPT, 'quote " and \\ and \n')),
        ex.Patch(ex.HeadPart(1, 0, "pattern"), TWIN),
        ex.Scale(ex.Neuron(0, 7), 0.1, (3,)),
        ex.Freeze(ex.KeyValue(0, 1, "k")),
        ex.EdgePatch(ex.Edge(ex.Head(0, 1), ex.MlpIn(2)), TWIN),
        ex.EdgeAblate(ex.Edge(ex.Embed(), ex.Logits()), "mean", (2,), (PROMPT,)),
        ex.OnlyEdges(
            (ex.PlacedEdge(ex.Edge(ex.Head(0, 1), ex.Logits()), 3), ex.PlacedEdge(ex.Edge(ex.Embed(), ex.MlpIn(0)))),
            TWIN,
        ),
        PAIR,
    ],
)
def test_values_are_written_as_the_python_that_makes_them(value) -> None:
    assert eval(expression(value), {"ex": ex}) == value


@pytest.mark.pages
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("prompt", {}),
        ("attention", {"head": "L2H1", "position": "9"}),
        ("attention", {"head": "L2H1", "weighting": "contribution"}),
        ("lens", {"lens_mode": "entropy"}),
        ("lens", {"lens": "tuned"}),
        ("lens", {"lens_of": "heads and MLPs"}),
        ("attribution", {}),
        ("circuits", {"circuit_method": "eap", "circuit_top": "40"}),
        ("patching", {"direction": "noising"}),
        ("patching", {"patch_view": "Paths", "sender": "L0H2", "receivers": "L1H0.q,logits"}),
        ("patching", {"patch_view": "Mediation", "place": "L0H2"}),
        ("patching", {"corruption": "noise", "noise_at": "1,3", "by_position": "True", "patch_site": "mlp_out"}),
    ],
)
def test_the_notebook_of_every_page_reproduces_its_numbers(name, choices, tmp_path, monkeypatch) -> None:
    caught: list[str] = []
    app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
    stack = ["L1H2:zero", "L0.mlp_out:scale:3,4:x0.3", "L2H0:patch", "L1H3:mean:off"]
    for field, value in {
        "model": "small-world-nano", "clean": PROMPT, "corrupt": TWIN, "answer": " Mary", "distractor": " John", "do": stack,
        **choices,
    }.items():  # fmt: skip
        app.query_params[field] = value
    app.run()  # a circuit is found below the foot: the notebook is asked for on a page that stands
    for live in app.session_state.get("_live_sweeps", ()):
        assert not live.under_way or live.done.wait(60)  # one that ends while the page is drawn draws it once more
    monkeypatch.setattr("explorer.ui.frame.foot", lambda title, desk: caught.append(page_notebook(desk, title)))
    app.run()
    assert not app.exception and len(caught) == 1
    nbformat = json.loads(caught[0])
    assert nbformat["nbformat"] == 4 and all(set(cell) >= {"id", "cell_type", "source"} for cell in nbformat["cells"])
    done = run_cells(caught[0], tmp_path)
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout.count("on screen") >= 5


@pytest.mark.reference
@pytest.mark.slow
def test_a_number_that_is_not_reproduced_stops_the_notebook(tmp_path) -> None:
    model = ex.load_model("small-world-nano")
    right = ex.prediction(model, PROMPT, answer=" Mary").baseline.answer_prob
    measure = Measure("Test", "prediction", {"prompt": PROMPT, "answer": " Mary"}, ("baseline.answer_prob",))
    done = run_cells(notebook(model.info, [Measured(measure, {"baseline.answer_prob": right + 1e-3})]), tmp_path)
    assert done.returncode != 0 and "on screen" in done.stderr
