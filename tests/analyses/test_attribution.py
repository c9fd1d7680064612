"""Direct logit attribution: the rows are the objective, in every family, with and without interventions."""

import pytest
import torch

import explorer as ex
from explorer.analyses.attribution import REST, direct_logit_attribution
from explorer.core.errors import AnswerError, ModelError, PromptError
from explorer.engine.model import Model
from tests.conftest import PROMPT, TWIN
from tests.tiny import COVERED, tiered
from tests.toys import TOYS, toy

pytestmark = pytest.mark.truth
ASKED = {"answer": " Mary", "distractor": " John"}
STACKS = {
    "none": [],
    "head": [ex.Ablate(ex.Head(1, 2), "zero"), ex.Scale(ex.Head(0, 0), 2.0)],
    "stream": [ex.Scale(ex.Resid(1, "resid_post"), 1.5), ex.Patch(ex.AttnOut(0), TWIN)],
}


CAPPED = "gemma2"
LINEAR = tuple(name for name in (*COVERED, *TOYS) if name != CAPPED)


@pytest.fixture(params=tiered(LINEAR))
def any_model(request: pytest.FixtureRequest, tiny_models) -> Model:
    return toy(request.param) if request.param in TOYS else tiny_models[request.param]


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("position", [-1, 4])
@pytest.mark.parametrize("distractor", [" John", ""])
def test_the_rows_add_up_to_the_objective(any_model: Model, stack, position: int, distractor: str) -> None:
    found = direct_logit_attribution(any_model, PROMPT, stack, answer=" Mary", distractor=distractor, position=position)
    assert found.check < 1e-9
    for name, side in zip(("baseline", "changed"), ((), stack), strict=True):
        row = ex.run(any_model, PROMPT, side).logits[position].astype(float)
        wanted = row[any_model.single_token(" Mary")] - (row[any_model.single_token(distractor)] if distractor else 0)
        assert found.frame[name].sum() == pytest.approx(float(wanted), abs=2e-6)  # `logits` are float32
    assert (REST in set(found.frame["component"])) == any(not isinstance(item.site, ex.Head) for item in stack)


def test_heads_add_up_over_their_sources(any_model: Model) -> None:
    assert any_model.info.heads_add_up
    found = direct_logit_attribution(any_model, PROMPT, **ASKED)
    rows = found.frame[found.frame["kind"] == "head"]["changed"].to_numpy()
    assert found.heads_by_source.sum(-1).flatten().numpy() == pytest.approx(rows, abs=1e-5)


def test_an_ablated_head_adds_nothing_and_the_scale_is_the_runs_own(any_model: Model) -> None:
    assert any_model.info.heads_add_up
    frame = direct_logit_attribution(any_model, PROMPT, STACKS["head"], **ASKED).frame.set_index("component")
    assert frame.loc["L1H2", "changed"] == 0 != frame.loc["L1H2", "baseline"]
    assert frame["difference"].sum() == pytest.approx(frame["changed"].sum() - frame["baseline"].sum())


def test_smollm2_adds_up_to_its_logit_difference(smollm2: Model) -> None:
    found = direct_logit_attribution(smollm2, PROMPT, [ex.Ablate(ex.Head(23, 3), "zero")], **ASKED)
    assert found.check < 1e-4
    assert found.logit_difference == pytest.approx((6.118, 3.08), abs=0.02)
    assert found.frame["component"].is_unique


def test_a_known_head_writes_all_there_is() -> None:
    model = ex.load_model("induction-handmade", dtype="float64")
    frame = direct_logit_attribution(model, "q f m x b z q f m", answer=" x", distractor=" z").frame
    assert frame.set_index("component").loc["L1H2", "baseline"] == pytest.approx(20.0)
    assert frame[frame["component"] != "L1H2"]["baseline"].abs().max() == 0


def test_bad_input_is_explained(tiny_models) -> None:
    with pytest.raises(AnswerError, match="needs an answer"):
        direct_logit_attribution(tiny_models["gpt2"], PROMPT, answer="")
    with pytest.raises(PromptError, match="does not exist"):
        direct_logit_attribution(tiny_models["gpt2"], PROMPT, position=99, **ASKED)
    with pytest.raises(ModelError, match="caps its logits"):
        direct_logit_attribution(tiny_models[CAPPED], PROMPT, **ASKED)
    with pytest.raises(ModelError, match="runs on the bridge"):
        direct_logit_attribution(tiny_models["opt"], PROMPT, **ASKED)
    assert torch.is_grad_enabled()
