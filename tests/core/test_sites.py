import pytest

from explorer.core.errors import StateError
from explorer.core.records import from_record, to_record
from explorer.core.sites import AttnOut, Head, MlpOut, Resid, parse_site
from explorer.engine.interventions import TYPES, Ablate

pytestmark = pytest.mark.unit

SITES = [Head(23, 3), AttnOut(0), MlpOut(5), Resid(0, "resid_pre"), Resid(7, "resid_mid"), Resid(29, "resid_post")]


@pytest.mark.parametrize("site", SITES, ids=str)
def test_a_name_parses_back_to_its_site(site) -> None:
    assert parse_site(str(site)) == site


@pytest.mark.parametrize(
    "text", ["", "H3", "L1", "L1H", "L1.nothing", "L-1H2", "L1H2 ", "l1h2", "L99999H1", "<b>", "L1.mlp_out.x"]
)
def test_anything_else_is_refused_with_the_expected_form(text: str) -> None:
    with pytest.raises(StateError, match=r"names no site|unknown activation"):
        parse_site(text)


@pytest.mark.parametrize("site", SITES, ids=str)
def test_interventions_round_trip_through_json(site) -> None:
    import json

    item = Ablate(site, "mean", (1, 4), ("a", "b"))
    assert from_record(json.loads(json.dumps(to_record(item))), TYPES) == item
    assert len({item, from_record(to_record(item), TYPES)}) == 1


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(StateError, match="Explode"):
        from_record({"type": "Explode"}, TYPES)
    with pytest.raises(StateError, match="does not fit"):
        from_record({"type": "Head", "layer": 1, "colour": 2}, TYPES)
