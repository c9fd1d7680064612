"""The gallery's claims, measured again: on which models each example works, and on which it does not."""

import pytest

import explorer as ex
from explorer.core.errors import AnswerError
from explorer.models.catalog import CATALOG
from explorer.prompts.examples import EXAMPLES, SMALL, examples_for


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("key", ["smollm2", *SMALL, "attn-only-2l"])
def test_examples_work_on_the_models_that_they_name_and_on_no_other(key: str) -> None:
    model = ex.load_model(key)
    for name, example in EXAMPLES.items():
        pair = example.pair
        try:
            clean, corrupt = (
                ex.run(model, text).logit_difference(pair.answer, pair.distractor)
                for text in (pair.clean, pair.corrupt)
            )
        except AnswerError:
            clean, corrupt = 0.0, 0.0
        assert (clean > 0 > corrupt) == (key in example.works_on), f"{name}: {clean:+.2f}, {corrupt:+.2f}"
        if key in example.works_on:
            assert len(model.tokenize(pair.clean)) == len(model.tokenize(pair.corrupt)), name


@pytest.mark.unit
def test_what_works_comes_first_and_names_known_models() -> None:
    for key in ("smollm2", "small-world", "gpt2"):
        works = [key in example.works_on for example in examples_for(key).values()]
        assert works == sorted(works, reverse=True)
    assert {key for example in EXAMPLES.values() for key in example.works_on} <= set(CATALOG)
    assert list(examples_for("induction-handmade")) != list(examples_for("smollm2"))
