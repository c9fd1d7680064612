"""The files of a report."""

import json

from explorer.findings.blocks import to_html, to_markdown
from explorer.findings.notebook import notebook_of
from explorer.findings.report import Report, to_json
from explorer.findings.words import blocks_of


def report_files(report: Report) -> dict[str, str]:
    """report.json with its hash chain; report.html and report.md, which name its hash; a notebook that runs it again."""
    record = to_json(report)
    blocks = blocks_of(report, record["hash"])
    files = {
        "report.json": json.dumps(record, ensure_ascii=False, indent=1),
        "report.html": to_html(report.title, blocks),
        "report.md": to_markdown(blocks),
    }
    models = dict.fromkeys((finding.model, finding.dtype, finding.weight_hash) for finding in report.findings)
    for number, key in enumerate(models):
        measures = [
            each
            for finding in report.findings
            if (finding.model, finding.dtype, finding.weight_hash) == key
            for each in finding.measured
        ]
        files["notebook.ipynb" if len(models) == 1 else f"notebook-{number + 1}.ipynb"] = notebook_of(*key, measures)
    return files
