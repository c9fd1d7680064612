"""The table of strongest cells: chosen on one half, measured on the other, against the control's band."""

import numpy as np
import pytest

import explorer as ex
from explorer.metrics.effects import Effects
from explorer.metrics.strongest import band_of, halves, strongest

pytestmark = pytest.mark.unit


def effects(by_pair: np.ndarray, provenance) -> Effects:
    n = len(by_pair)
    return Effects(
        by_pair, np.full(n, 2.0), np.full(n, -2.0), "head_out", "noising", ("layer", "head"), (0, 1), (), (), provenance
    )


def test_a_planted_cell_is_found_and_noise_is_not(tiny_models) -> None:
    provenance = tiny_models["gpt2"].provenance([])
    rng = np.random.default_rng(1)
    by_pair = rng.normal(0, 1, (60, 2, 20))
    by_pair[:, 1, 3] -= 3.0
    control = effects(rng.normal(0, 1, (60, 2, 20)), provenance)
    table = strongest(effects(by_pair, provenance), control, top=5)
    first = table.iloc[0]
    assert (first["layer"], first["head"]) == (1, 3) and first["beyond_control"]
    assert not table["beyond_control"].iloc[1:].any()
    # a cell chosen for its noise falls back on the held-out half; a real one stays
    assert abs(first["change_held_out"]) > 2.5 and (table["change_held_out"].iloc[1:].abs() < table["change_chosen_on"].iloc[1:].abs()).mean() >= 0.75  # fmt: skip
    half = halves(60)
    assert half.sum() == 30 and first["change_held_out"] == pytest.approx(by_pair[~half, 1, 3].mean())
    assert first["held_out_low"] < first["change_held_out"] < first["held_out_high"]
    band = band_of(control)
    assert band.low < 0 < band.high <= band.largest


def test_few_pairs_make_no_halves(tiny_models) -> None:
    provenance = tiny_models["gpt2"].provenance([])
    table = strongest(effects(np.ones((3, 2, 2)), provenance), top=2)
    assert "change_held_out" not in table and len(table) == 2
    alone = strongest(effects(np.ones((1, 2, 2)), provenance), top=1)
    assert np.isnan(alone["change_low"]).all()


def test_places_are_named(tiny_models) -> None:
    provenance = tiny_models["gpt2"].provenance([])
    found = Effects(np.zeros((1, 1, 2, 3)), np.ones(1), np.zeros(1), "k", "denoising", ("layer", "kv_head", "pos"), (5,), (0, 7, 9), (), provenance)  # fmt: skip
    assert str(found.place(4)) == "L5KV1.k@7" and found.place(4) == ex.Place(ex.KeyValue(5, 1, "k"), 7)
