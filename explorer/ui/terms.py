"""The `?` beside a number: terms of the glossary."""

from explorer.core.terms import TERMS


def help_for(*names: str) -> str:
    """What terms mean, for a widget's help."""
    return "\n\n".join(f"**{name}**: {escaped(TERMS[name])}" for name in names)


def escaped(text: str) -> str:
    """A meaning for Streamlit's Markdown: dollars, brackets and tildes as they are."""
    for sign in "$[]<~":
        text = text.replace(sign, f"\\{sign}")
    return text
