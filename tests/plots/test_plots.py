import base64
import json
from dataclasses import replace

import numpy as np
import pytest

import explorer as ex
from explorer.core.sites import Head
from explorer.plots import attention_figures as attention_plots
from explorer.plots import lens_figures as lens_plots
from explorer.plots.heatmap import Heatmap, Mark, to_plotly
from explorer.plots.lines import to_plotly as lines_to_plotly
from explorer.plots.theme import position_label, token_label
from explorer.ui.heatmap import payload
from tests.conftest import PROMPT

pytestmark = pytest.mark.unit

HOSTILE = "<script>alert(1)</script> <b>bold</b> &lt; <img src=x onerror=alert(1)>"


EMPTY = Heatmap(
    values=np.zeros((1, 1)), low=0.0, high=1.0, palette="sequential", legend="", x_title="", y_title="",
    x_labels=[], y_labels=[], hovers=[], height=100, upwards=True,
)  # fmt: skip


def test_hostile_tokens_are_harmless_in_every_label_and_hover(tiny) -> None:
    attention, lens = ex.attention(tiny, HOSTILE), ex.logit_lens(tiny, HOSTILE, answer="<")
    figures = [
        ex.plots.attention(attention),
        ex.plots.attention_head(attention, 0, 0),
        ex.plots.logit_lens(lens),
        ex.plots.trajectories(lens, "<"),
        to_plotly(lens_plots.grid(lens, baseline=lens)),
    ]
    for drawn in figures:
        for text in (text for text in walk(drawn.to_plotly_json()) if "<" in text):
            assert not set(tags(text)) - {"br", "extra", "/extra"}, text


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
    assert position_label(" to", 3) == "·to 3" != position_label(" to", 7)


def test_the_grid_carries_every_head(tiny) -> None:
    result = ex.attention(tiny, PROMPT)
    shown = attention_plots.grid(result.patterns, ablated=[Head(1, 2)], selected=Head(0, 0), pinned=[Head(2, 1)])
    n_layers, n_heads, length, _ = result.patterns.shape
    assert shown.shape == (n_layers, n_heads)
    assert [text.split("\n")[0] for text in shown.hovers] == [
        f"L{layer}H{head}" for layer in range(n_layers) for head in range(n_heads)
    ]
    start = shown.pitch
    drawn = shown.values[start : start + length, 2 * start : 2 * start + length][::-1]  # L1H2, destinations downwards
    lower = np.tril(np.ones((length, length), dtype=bool))
    assert np.abs(drawn[lower] - result.patterns[1, 2][lower]).max() < 1e-12 and np.isnan(drawn[~lower]).all()
    assert {(mark.row, mark.column, mark.color) for mark in shown.marks} == {
        (1, 2, "ablated"), (0, 0, "selected"), (2, 1, "pinned"),
    }  # fmt: skip
    scores = attention_plots.score_grid(result.scores["induction"], "induction")
    assert scores.shape == (n_layers, n_heads) and (scores.values == result.scores["induction"]).all()
    assert attention_plots.score_grid(result.scores["induction"], "ablation effect").low < 0


def test_levels_are_faithful_and_keep_blanks() -> None:
    values = np.array([[0.0, 0.25, np.nan], [1.0, 2.0, -1.0]])
    shown = replace(EMPTY, values=values)
    assert shown.levels().tolist() == [[1, 64, 0], [255, 255, 1]]
    sent = payload(shown)
    assert base64.b64decode(sent["cells"]) == bytes([1, 64, 0, 255, 255, 1])
    colors = np.frombuffer(base64.b64decode(sent["colors"]), np.uint8).reshape(256, 4)
    assert colors[0].tolist() == [0, 0, 0, 0] and colors[255].tolist() == [43, 127, 212, 242]
    json.dumps(sent)


def test_long_prompts_are_pooled_and_say_so() -> None:
    patterns = np.zeros((1, 1, 80, 80))
    patterns[0, 0, 50, 7] = 1.0
    small, block = attention_plots.pool(patterns, 32)
    assert block == 3 and small.shape == (1, 1, 27, 27) and small[0, 0, 50 // 3, 7 // 3] == 1.0 and small.sum() == 1.0
    assert "3 × 3 tokens" in attention_plots.grid(patterns).title
    assert attention_plots.pool(-patterns, 32)[0].min() == -1.0
    long = attention_plots.head(np.tril(np.ones((300, 300))), ["a"] * 300)
    assert "2 × 2 tokens" in long.title and long.values.shape == (150, 150) and len(long.x_labels) <= 40


def test_one_head_has_destination_rows_and_masked_future(tiny) -> None:
    result = ex.attention(tiny, PROMPT)
    shown = attention_plots.head(result.patterns[1, 2], result.tokens.texts, selected=(3, None))
    assert not shown.upwards and shown.marks == [Mark(3, None, "row")]
    assert np.isnan(shown.values[np.triu_indices_from(shown.values, 1)]).all()
    assert np.abs(np.nan_to_num(shown.values).sum(1) - 1).max() < 1e-6
    assert "looks at" in shown.hovers[-1]
    drawn = to_plotly(shown)
    assert np.allclose(np.nan_to_num(drawn.data[0].z), np.nan_to_num(shown.values), atol=1e-6)
    assert drawn.layout.yaxis.autorange == "reversed" and len(drawn.layout.shapes) == 1


@pytest.mark.parametrize("mode", lens_plots.LENS_MODES)
def test_the_lens_grid_in_every_mode(tiny, mode) -> None:
    lens = ex.logit_lens(tiny, PROMPT, answer=" Mary", distractor=" John")
    shown = lens_plots.grid(lens, mode, selected=(2, 5))
    assert shown.values.shape == lens.prob.shape and len(shown.texts) == len(shown.hovers) == lens.prob.size
    assert (shown.values == lens_plots.values(lens, mode)).all()
    difference = lens_plots.grid(lens, mode, baseline=lens)
    assert np.abs(difference.values).max() == 0 and difference.low == -difference.high


def test_trajectories_follow_answer_and_distractor(tiny) -> None:
    lens = ex.logit_lens(tiny, PROMPT, answer=" Mary", distractor=" John")
    drawn = lens_plots.trajectories(lens, 4, baseline=lens, answer=" Mary", distractor=" John")
    assert [each.name for each in drawn.series] == ["·Mary (baseline)", "·John (baseline)", "·Mary", "·John"]
    assert [each.dashed for each in drawn.series] == [True, True, False, False]
    assert np.allclose(drawn.series[2].values, lens.answer_prob[:, 4])
    plotly = lines_to_plotly(drawn)
    assert [trace.name for trace in plotly.data] == [each.name for each in drawn.series]
    ranks = lens_plots.trajectories(lens, 4, answer=" Mary", scale="log rank")
    assert ranks.reversed and np.allclose(10 ** ranks.series[0].values, lens.answer_rank[:, 4])
