from pathlib import Path

import pytest

from explorer.core.terms import TERMS, glossary

pytestmark = pytest.mark.unit


def test_the_glossary_is_written_from_the_table() -> None:
    """If this fails: python -c "from explorer.core.terms import glossary; open('GLOSSARY.md', 'w').write(glossary())"."""
    assert (Path(__file__).parents[2] / "GLOSSARY.md").read_text() == glossary()


def test_terms_are_sorted_and_fit_a_table() -> None:
    assert list(TERMS) == sorted(TERMS, key=str.lower)
    assert not any("\n" in text or "|" in text.replace("‖", "") for text in TERMS.values())
