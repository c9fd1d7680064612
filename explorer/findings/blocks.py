"""A document as blocks, and its two renderers: HTML and Markdown.  Every text is escaped here and nowhere else."""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Text:
    text: str
    kind: str = ""
    """A class of the style sheet: good, bad, quiet."""


@dataclass(frozen=True)
class Items:
    rows: Sequence[str]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Figure:
    plotly: str
    """JSON."""
    caption: str


@dataclass(frozen=True)
class More:
    """What is folded away."""

    title: str
    inside: Sequence["Block"]


Block = Heading | Text | Items | Table | Code | Figure | More
STYLE = """
:root { color-scheme: light dark; --text: #1d2430; --quiet: #5d6675; --line: #d9dde4; --back: #fff; --soft: #f4f6f9; --good: #1d7f49; --bad: #b3500a; --blue: #1f66b0; }
@media (prefers-color-scheme: dark) { :root { --text: #e7eaf0; --quiet: #9aa4b5; --line: #333b49; --back: #12161d; --soft: #1b212b; --good: #55c98a; --bad: #f0a056; --blue: #6cb0f5; } }
* { box-sizing: border-box; } body { margin: 0 auto; max-width: 980px; padding: 32px 24px 80px; background: var(--back); color: var(--text); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; } h2 { font-size: 22px; margin: 44px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); } h3 { font-size: 17px; margin: 24px 0 6px; }
p { margin: 8px 0; overflow-wrap: anywhere; } ul { margin: 8px 0; padding-left: 22px; } li { overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); } .quiet { color: var(--quiet); font-size: 14px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: 10px 0; font-size: 14px; width: 100%; } th { text-align: left; color: var(--quiet); font-weight: 600; }
td, th { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: break-word; max-width: 560px; }
pre { background: var(--soft); padding: 10px 12px; border-radius: 6px; overflow-x: auto; font-size: 13px; } details { margin: 10px 0; } summary { cursor: pointer; color: var(--blue); }
figure { margin: 14px 0; } figcaption { color: var(--quiet); font-size: 13px; } .plot { width: 100%; min-height: 260px; }
@media print { details { display: none; } }
"""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
"""Of the page: nothing may be fetched, from anywhere."""
DRAW = """
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
for (const place of document.querySelectorAll('.plot')) {
  const figure = JSON.parse(document.getElementById(place.dataset.of).textContent);
  figure.layout.font = Object.assign({}, figure.layout.font, {color: dark ? '#e7eaf0' : '#1d2430'});
  Plotly.newPlot(place, figure.data, figure.layout, {displaylogo: false, responsive: true});
}
"""


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """One page that needs nothing else; plotly stands in it once, where there is a figure."""
    figures: list[str] = []
    body = "\n".join(html_of(block, figures) for block in blocks)
    scripts = ""
    if figures:
        from explorer.plots import plotly_source

        scripts = f"<script>{plotly_source()}</script>\n{''.join(figures)}<script>{DRAW}</script>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n{scripts}</body></html>\n"
    )


def html_of(block: Block, figures: list[str]) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Text(text, kind):
            return f'<p class="{kind}">{html.escape(text)}</p>'
        case Items(rows, kind):
            return f'<ul class="{kind}">' + "".join(f"<li>{html.escape(row)}</li>" for row in rows) + "</ul>"
        case Table(head, rows):
            top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
            below = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
            return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{below}</tbody></table></div>'
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Figure(plotly, caption):
            name = f"figure-{len(figures)}"
            figures.append(f'<script type="application/json" id="{name}">{in_script(plotly)}</script>\n')
            return f'<figure><div class="plot" data-of="{name}"></div><figcaption>{html.escape(caption)}</figcaption></figure>'
        case More(title, inside):
            return f"<details><summary>{html.escape(title)}</summary>{''.join(html_of(each, figures) for each in inside)}</details>"


def in_script(text: str) -> str:
    """JSON that cannot end the script it stands in; parsed first, so that it is JSON and nothing else."""
    plain = json.dumps(json.loads(text))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def to_markdown(blocks: Sequence[Block]) -> str:
    """The same words without figures."""
    return "\n\n".join(part for block in blocks if (part := markdown_of(block))) + "\n"


def markdown_of(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {plain(text)}"
        case Text(text, _):
            return plain(text)
        case Items(rows, _):
            return "\n".join(f"- {plain(row)}" for row in rows)
        case Table(head, rows):
            lines = [head, ["---"] * len(head), *rows]
            return "\n".join("| " + " | ".join(cell if cell == "---" else plain(cell) for cell in row) + " |" for row in lines)  # fmt: skip
        case Code(text):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return f"{fence}\n{text}\n{fence}"
        case Figure(_, caption):
            return f"*{plain(caption)} (in the HTML report)*"
        case More(title, inside):
            return f"**{plain(title)}**\n\n" + "\n\n".join(markdown_of(each) for each in inside)


def plain(text: str) -> str:
    """Words that Markdown shows as they are."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$-])", r"\\\1", " ".join(text.split()))
