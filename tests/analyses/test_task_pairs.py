"""Task pairs: drawn for any tokenizer, measured as defined, under interventions too."""

import pytest
import torch

import explorer as ex
from explorer.core.errors import SiteError, TaskError
from explorer.models.zoo.world import TASKS
from explorer.prompts.tasks import FOR_ANY_MODEL, draw_pairs, misfit

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def nano():
    return ex.load_model("small-world-nano")


@pytest.mark.parametrize("task", FOR_ANY_MODEL)
def test_pairs_fit_the_tokenizer_of_a_real_model(smollm2, task: str) -> None:
    drawn = draw_pairs(smollm2.tokenizer, task, 30)
    assert len(set(drawn.pairs)) == 30
    assert drawn == draw_pairs(smollm2.tokenizer, task, 30) != draw_pairs(smollm2.tokenizer, task, 30, seed=1)
    for pair in drawn.pairs:
        assert not misfit(smollm2.tokenizer, pair)
        assert len(smollm2.tokenize(pair.clean)) == len(smollm2.tokenize(pair.corrupt))


def test_years_are_asked_in_single_digits_where_numbers_split(smollm2, nano) -> None:
    assert {len(pair.answer) for pair in draw_pairs(smollm2.tokenizer, "greater_than", 20).pairs} == {1}
    assert {len(pair.answer) for pair in draw_pairs(nano.tokenizer, "greater_than", 20).pairs} == {2}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ioi", "capital", "induction"])
def test_a_real_model_gets_most_pairs_right_and_the_measure_is_that_of_single_runs(smollm2, task: str) -> None:
    result = ex.task_pairs(smollm2, task, 12)
    assert result.accuracy >= 0.7
    assert len(result.right) == result.frame["right"].sum() == round(12 * result.accuracy)
    for pair, row in list(zip(result.pairs, result.frame.itertuples(), strict=True))[:3]:
        clean = ex.prediction(smollm2, pair.clean, answer=pair.answer, distractor=pair.distractor).baseline
        corrupt = ex.prediction(smollm2, pair.corrupt, answer=pair.answer, distractor=pair.distractor).baseline
        assert row.logit_difference_clean == pytest.approx(clean.logit_difference, abs=1e-3)
        assert row.logit_difference_corrupt == pytest.approx(corrupt.logit_difference, abs=1e-3)
        assert row.rank_clean == clean.answer_rank
        assert row.right == (clean.logit_difference > 0 > corrupt.logit_difference)


@pytest.mark.slow
def test_years_are_judged_on_the_clean_prompt_alone(nano, smollm2) -> None:
    """On the corrupt prompt (year 01) answer and distractor are both later, so it decides nothing."""
    for model, least in ((nano, 0.9), (smollm2, 0.7)):
        result = ex.task_pairs(model, "greater_than", 40)
        assert result.accuracy >= least
        assert (result.frame["right"] == (result.frame["logit_difference_clean"] > 0)).all()
        assert result.top1 == (result.frame["rank_clean"] == 1).mean()


def test_wrong_pairs_are_left_out(nano) -> None:
    result = ex.task_pairs(nano, "sport", 40, held_out=True)
    kept = set(result.right)
    assert all((pair in kept) == bool(right) for pair, right in zip(result.pairs, result.frame["right"], strict=True))


@pytest.mark.slow
def test_interventions_change_what_is_right(nano) -> None:
    plain = ex.task_pairs(nano, "ioi", 20)
    layers = [ex.Ablate(ex.Head(0, head), "zero") for head in range(4)]
    cut = ex.task_pairs(nano, "ioi", 20, interventions=layers)
    assert cut.pairs == plain.pairs
    assert plain.accuracy > 0.9 > cut.accuracy
    same = ex.task_pairs(nano, "ioi", 20, interventions=[ex.Scale(ex.Head(0, 0), 1.0)])
    assert same.frame["logit_difference_clean"].to_numpy() == pytest.approx(
        plain.frame["logit_difference_clean"], abs=1e-4
    )
    swapped = ex.task_pairs(
        nano, "ioi", 20, interventions=lambda pair, side: [ex.Patch(ex.Resid(3, "resid_post"), source=pair.corrupt)]
    )
    assert swapped.frame["logit_difference_clean"].to_numpy() == pytest.approx(
        plain.frame["logit_difference_corrupt"], abs=1e-4
    )


def test_bad_input_is_explained(smollm2, nano) -> None:
    with pytest.raises(TaskError, match=r"no task 'nonsense'\. Known: ioi, "):
        ex.task_pairs(nano, "nonsense")
    with pytest.raises(TaskError, match="at least one pair; got 0"):
        ex.task_pairs(nano, "ioi", 0)
    with pytest.raises(TaskError, match=r"of 5 pairs could be drawn.*' Sorry' are several tokens"):
        ex.task_pairs(smollm2, "refusal", 5)
    with pytest.raises(TaskError, match="words that this model does not know"):
        ex.task_pairs(ex.load_model("gate-and"), "ioi", 3)
    with pytest.raises(SiteError):
        ex.task_pairs(nano, "ioi", 3, interventions=[ex.Ablate(ex.Head(99, 0), "zero")])


def test_progress_reaches_the_end(nano) -> None:
    seen: list[float] = []
    ex.task_pairs(nano, "capital", 10, progress=lambda fraction, stage: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_drawn_for_the_small_world(nano, task: str) -> None:
    for held_out in (False, True):
        assert len(ex.task_pairs(nano, task, 8, held_out=held_out).pairs) == 8


def test_years_told_and_asked_by_pair_are_consistent(smollm2) -> None:
    for pair in draw_pairs(smollm2.tokenizer, "greater_than", 30).pairs:
        digits = [int(character) for character in pair.clean if character.isdigit()]
        tens = digits[2]
        assert int(pair.answer) > tens > int(pair.distractor)
    assert torch.is_grad_enabled()  # measuring leaves grad mode as it was
