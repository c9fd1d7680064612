"""Maps of effects: every cell in its place, estimates hatched, plotly twins."""

from dataclasses import replace

import numpy as np
import pytest

import explorer as ex
from explorer.plots import patching_figures as plots
from explorer.plots.heatmap import to_plotly
from explorer.plots.points import Points
from explorer.plots.points import to_plotly as points_to_plotly
from tests.conftest import PROMPT, TWIN

pytestmark = pytest.mark.unit

PAIR = ex.ContrastPair(PROMPT, TWIN, " a", " the")


@pytest.mark.parametrize("site", ["head_out", "resid_pre", "k", "neurons"])
@pytest.mark.parametrize("by_position", [False, True])
def test_every_cell_stands_where_its_name_says(tiny_models, site: str, by_position: bool) -> None:
    model = tiny_models["llama"]
    layers = (1,) if site == "neurons" else None
    found = ex.attribution_patching(model, PAIR, site, by_position=by_position, layers=layers)
    layout = plots.layout_of(found, found.raw, model.tokenize(PROMPT).texts)
    assert layout.index.shape == (len(layout.y_labels), len(layout.x_labels))
    assert layout.hidden == found.raw.size - layout.index.size
    for row, column in ((0, 0), (layout.index.shape[0] - 1, layout.index.shape[1] - 1)):
        cell = int(layout.index[row, column])
        place = found.place(cell)
        assert layout.find(cell) == (row, column)
        assert found.raw.ravel()[cell] == pytest.approx(value_at(found, place), abs=0)
        if by_position:
            assert place.position == column
    shown = plots.effect_map(
        layout, found.raw, np.isfinite(found.raw), dict.fromkeys(range(found.raw.size), "x"), legend="l", title="t"
    )
    assert np.array_equal(shown.values, found.raw.ravel()[layout.index]) and not shown.hatched.any()


def test_positions_where_nothing_can_differ_are_left_out_of_long_prompts(tiny_models) -> None:
    model = tiny_models["llama"]
    long = "The keys to the cabinet " * 5
    found = ex.attribution_patching(
        model, ex.ContrastPair(long + PROMPT, long + TWIN, " a", " the"), "resid_pre", by_position=True
    )
    texts, n = model.tokenize(long + PROMPT).texts, len(found.positions)
    assert n > plots.WRITTEN_UP_TO
    whole, cut = (plots.layout_of(found, found.raw, texts, first) for first in (0, n - 5))
    assert whole.index.shape == (3, n) and cut.index.shape == (3, 5) and cut.hidden == 3 * (n - 5)
    assert cut.x_labels == whole.x_labels[-5:] and (cut.index == whole.index[:, -5:]).all()
    heads = ex.attribution_patching(model, ex.ContrastPair(long + PROMPT, long + TWIN, " a", " the"), by_position=True)
    assert plots.layout_of(heads, heads.raw, texts, n - 5).index.shape == (12, 5)


def value_at(found, place: ex.Place) -> float:
    frame = found.frame
    for axis in frame.columns.intersection(["layer", "head", "kv_head", "neuron"]):
        frame = frame[frame[axis] == getattr(place.site, axis)]
    if place.position is not None:
        frame = frame[frame["pos"] == place.position]
    assert len(frame) == 1
    return float(frame["change"].iloc[0])


def test_estimates_are_hatched_in_both_renderers(tiny_models) -> None:
    found = ex.attribution_patching(tiny_models["gpt2"], PAIR)
    layout = plots.layout_of(found, found.raw, [])
    measured = np.zeros(found.raw.shape, bool)
    measured[1, 2] = True
    shown = plots.effect_map(
        layout,
        found.raw,
        measured,
        dict.fromkeys(range(12), ""),
        legend="",
        title="",
        selected=6,
        collected=[1],
        ablated=[2],
        neutral=1.0,
    )
    assert shown.hatched.sum() == 11 and not shown.hatched[1, 2]
    assert [(mark.row, mark.column, mark.color) for mark in shown.marks] == [
        (0, 2, "ablated"),
        (0, 1, "pinned"),
        (1, 2, "selected"),
    ]
    assert shown.low + shown.high == pytest.approx(2.0)
    strokes = [trace for trace in to_plotly(shown).data if trace.type == "scatter" and trace.mode == "markers"]
    assert len(strokes) == 1 and len(strokes[0].x) == 11


def test_the_scatter_tells_its_correlation(tiny_models, monkeypatch) -> None:
    found = ex.attribution_patching(tiny_models["gpt2"], PAIR)
    twice = replace(found, by_pair=2 * found.by_pair)
    twice.by_pair[0, 0, 0] = np.nan
    shown, cells = plots.estimate_against_exact(found, twice)
    assert shown.title == "r = +1.00 over 11 cells" and shown.ranges[0] == shown.ranges[1] and cells == list(range(12))
    assert shown.hovers[5].startswith("L1H1\n")
    empty = replace(found, by_pair=np.full_like(found.by_pair, np.nan))
    assert plots.estimate_against_exact(found, empty)[0].title == "too few cells for a correlation"
    assert np.isnan(plots.correlation(np.ones(5), np.arange(5.0)))
    drawn = points_to_plotly(shown)
    assert len(drawn.data[0].x) == 12 and len(drawn.layout.shapes) == 1
    monkeypatch.setattr(plots, "MOST_POINTS", 3)
    few, cells = plots.estimate_against_exact(found, twice)
    assert len(few.x) == 3 and few.title == shown.title and set(cells) == set(np.argsort(-np.nan_to_num(np.abs(twice.raw.ravel()), nan=0))[:3])  # fmt: skip
    for cell in cells:
        assert found.cell(str(found.place(cell))) == cell
    assert found.cell("L9H0") is None and found.cell("") is None and found.cell("L1H99") is None


def test_points_escape_what_they_say() -> None:
    shown = Points(
        np.zeros(1), np.zeros(1), ["<b>x</b>\ny"], "x", "y", strong=[0], band=(-1.0, 1.0), x_ticks=[(0.0, "<i>")]
    )
    drawn = points_to_plotly(shown)
    assert drawn.data[0].customdata[0] == "&lt;b&gt;x&lt;/b&gt;<br>y" and drawn.layout.xaxis.ticktext == ("&lt;i&gt;",)
    assert shown.ranges[0] == (-0.5, 0.5) and shown.ranges[1][0] < -1


def test_receivers_stand_in_their_columns(tiny_models) -> None:
    model = tiny_models["llama"]
    found = ex.path_map(model, PAIR, ex.Head(1, 0))
    shown, names = plots.path_figure(found, 3, ["L2H3.q"])
    assert names[0][-2:] == ["L1.mlp_in", ""] and names[1][3] == "L2H3.q" and names[1][-1] == "logits"
    changes = found.frame.set_index("receiver")["change"]
    for row in range(shown.values.shape[0]):
        for column in range(shown.values.shape[1]):
            name = names[row][column]
            assert np.isnan(shown.values[row, column]) if not name else shown.values[row, column] == changes[name]
    assert [(mark.row, mark.column) for mark in shown.marks] == [(1, 3)]


def test_a_strip_has_a_point_a_pair() -> None:
    shown = plots.strip_plot(
        {"a": np.arange(3.0), "control": np.zeros(2)},
        {"a": ["p", "q", "r"], "control": ["p", "r"]},
        "t",
        "y",
        (-0.1, 0.1),
    )
    assert len(shown.x) == 5 and shown.hovers[0].startswith("a\np") and abs(shown.x[3] - 1) < 0.3
