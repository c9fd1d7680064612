import numpy as np
import plotly.graph_objects as go
import pytest

import explorer as ex
from explorer.core.sites import Head
from explorer.plots import attention_figures as attention_plots
from explorer.plots import lens_figures as lens_plots
from explorer.plots.theme import position_labels, token_label
from tests.conftest import PROMPT

pytestmark = pytest.mark.unit

HOSTILE = "<script>alert(1)</script> <b>bold</b> &lt; <img src=x onerror=alert(1)>"


def texts_in(figure: go.Figure) -> str:
    return figure.to_json()


def test_hostile_tokens_are_harmless_in_every_label_and_hover(tiny) -> None:
    attention, lens = ex.attention(tiny, HOSTILE), ex.logit_lens(tiny, HOSTILE, answer="<")
    figures = [
        ex.plots.attention(attention),
        ex.plots.attention_head(attention, 0, 0),
        ex.plots.logit_lens(lens),
        ex.plots.trajectories(lens, "<"),
        lens_plots.grid(lens, baseline=lens),
    ]
    for figure in figures:
        written = figure.to_plotly_json()
        strings = [text for text in walk(written) if "<" in text]
        for text in strings:
            assert not set(tags(text)) - {"b", "/b", "br", "sup", "/sup", "extra", "/extra"}, text


def walk(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list | tuple | np.ndarray):
        for item in value:
            yield from walk(item)


def tags(text: str) -> list[str]:
    return [part.split(">")[0].split()[0] if part.split(">")[0].split() else "<" for part in text.split("<")[1:]]


def test_labels_show_white_space_and_tell_equal_tokens_apart() -> None:
    assert token_label(" a") == "·a" and token_label("x" * 30).endswith("…")
    labels = position_labels([" to", " to"], [3, 7])
    assert labels[0] != labels[1] and all("·to" in label for label in labels)


def test_the_grid_carries_every_head_and_its_click_target(tiny) -> None:
    result = ex.attention(tiny, PROMPT)
    figure = attention_plots.grid(
        result.patterns,
        ablated=[Head(1, 2)],
        selected=Head(0, 0),
        scores=result.scores["induction"],
        score_name="induction",
    )
    tiles, targets = figure.data
    n_layers, n_heads, length, _ = result.patterns.shape
    pitch = round(targets.x[1] - targets.x[0])
    assert np.asarray(targets.customdata)[..., :2].reshape(-1, 2).tolist() == [
        [layer, head] for layer in range(n_layers) for head in range(n_heads)
    ]
    drawn = np.asarray(tiles.z)[pitch : pitch + length, 2 * pitch : 2 * pitch + length][::-1]  # L1H2
    expected = 1 + 254 * result.patterns[1, 2]
    lower = np.tril(np.ones((length, length), dtype=bool))
    assert np.abs(drawn[lower] - expected[lower]).max() <= 0.5
    assert (drawn[~lower] == 0).all()


def test_long_prompts_are_pooled_and_say_so(tiny) -> None:
    patterns = np.zeros((1, 1, 80, 80))
    patterns[0, 0, 50, 7] = 1.0
    small, block = attention_plots.pool(patterns, 32)
    assert block == 3 and small.shape == (1, 1, 27, 27) and small[0, 0, 50 // 3, 7 // 3] == 1.0 and small.sum() == 1.0
    assert "3 × 3 tokens" in attention_plots.grid(patterns).layout.title.text
    assert attention_plots.pool(-patterns, 32)[0].min() == -1.0


def test_one_head_has_destination_rows_and_masked_future(tiny) -> None:
    result = ex.attention(tiny, PROMPT)
    figure = ex.plots.attention_head(result, 1, 2)
    z = np.asarray(figure.data[0].z)
    assert np.isnan(z[np.triu_indices_from(z, 1)]).all()
    assert np.abs(np.nan_to_num(z).sum(1) - 1).max() < 1e-5
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # destination 0 at the top


@pytest.mark.parametrize("mode", lens_plots.LENS_MODES)
def test_the_lens_grid_in_every_mode(tiny, mode) -> None:
    lens = ex.logit_lens(tiny, PROMPT, answer=" Mary", distractor=" John")
    figure = lens_plots.grid(lens, mode, selected=(2, 5))
    assert np.asarray(figure.data[0].z).shape == lens.prob.shape
    assert len(figure.data[1].text) == lens.prob.size
    difference = lens_plots.grid(lens, mode, baseline=lens)
    assert np.abs(np.asarray(difference.data[0].z)).max() == 0 and difference.data[0].zmin == -difference.data[0].zmax


def test_trajectories_follow_answer_and_distractor(tiny) -> None:
    lens = ex.logit_lens(tiny, PROMPT, answer=" Mary", distractor=" John")
    figure = lens_plots.trajectories(lens, 4, baseline=lens, answer=" Mary", distractor=" John")
    assert [trace.name for trace in figure.data] == ["·Mary (baseline)", "·John (baseline)", "·Mary", "·John"]
    assert np.allclose(figure.data[2].y, lens.answer_prob[:, 4])
