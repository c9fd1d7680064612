"""The attribution grid holds every component once, and names what a click means."""

import pytest

import explorer as ex
from explorer.core.sites import parse_site
from explorer.plots import attribution_figures as plots
from explorer.plots.heatmap import to_plotly
from tests.conftest import PROMPT

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("family", ["gpt2", "llama", "neox"])
def test_the_grid_holds_each_component_once(tiny_models, family: str) -> None:
    model = tiny_models[family]
    found = ex.direct_logit_attribution(model, PROMPT, answer=" Mary", distractor=" John")
    picture = plots.grid(found, selected="L1H2")
    frame = found.frame.set_index("component")["changed"]
    inside = [
        name for name in frame.index if not name.endswith("embedding") and not name.startswith(("final", "unembedding"))
    ]
    assert picture.values.sum() == pytest.approx(frame[inside].sum())
    names = plots.columns_of(found)
    assert (plots.BIASES in names) == any(name.endswith(("attention bias", "MLP bias")) for name in frame.index)
    for layer in range(model.info.n_layers):
        for column, name in enumerate(names):
            component = plots.component_at(found, layer, column)
            assert (component == "") == (name == plots.BIASES)
            assert not component or (parse_site(component) and picture.values[layer, column] == frame[component])
    assert [(mark.row, mark.column) for mark in picture.marks] == [(1, 2)]
    assert to_plotly(picture).data
    assert plots.sources(found, 1, 2).values.sum() == pytest.approx(frame["L1H2"], abs=1e-5)
    assert abs(plots.grid(found, "difference").values).max() == 0
