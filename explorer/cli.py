"""The command line: `circuit-explorer serve | models | tasks | train | train-lens | train-sae | add-sae | index | run | patch | circuit | audit | report | replay`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explorer import commands, feature_commands, finding_commands
from explorer.commands import ABLATE_HELP
from explorer.core.errors import ExplorerError
from explorer.models.catalog import DEFAULT_MODEL


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0; 1 for an error of the user's, printed as one line; 130 when interrupted."""
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except ExplorerError as error:
        print(f"circuit-explorer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("circuit-explorer: stopped. A training goes on from its last checkpoint.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="circuit-explorer", description="See inside a language model, and act on what you see."
    )
    choices = top.add_subparsers(required=True, metavar="COMMAND")

    add_serve(choices)
    models_parser = choices.add_parser("models", help="list the catalog, or set a model up")
    models_parser.add_argument("--prepare", metavar="MODEL", help="convert or download this model now, and check it")
    models_parser.add_argument("--json", metavar="FILE", type=Path, help="write the result here")
    models_parser.set_defaults(command=commands.models)

    tasks_parser = choices.add_parser("tasks", help="measure which contrast pairs of a task a model gets right")
    tasks_parser.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    tasks_parser.add_argument("--task", action="append", default=[], metavar="TASK", help="may be given more than once")
    tasks_parser.add_argument("--n", type=int, default=60, help="pairs of each task")
    tasks_parser.add_argument("--seed", type=int, default=0)
    tasks_parser.add_argument("--held-out", action="store_true", help="templates the small-world models never saw")
    tasks_parser.add_argument("--json", metavar="FILE", type=Path, help="write the pairs and measurements here")
    tasks_parser.set_defaults(command=commands.tasks)

    train_parser = choices.add_parser("train", help="train a shipped model again from its recipe")
    train_parser.add_argument("key", metavar="KEY", help="small-world, small-world-nano, attn-only-2l, or a variant")
    train_parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: ./KEY)")
    train_parser.set_defaults(command=commands.train)

    lens_parser = choices.add_parser("train-lens", help="train a tuned lens of a model, for the Lens page")
    lens_parser.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    lens_parser.add_argument(
        "--text", metavar="FILE", type=Path, help="UTF-8 text to train on (default: see the README)"
    )
    lens_parser.add_argument("--steps", type=int, help="600 by default, each of four texts of 96 tokens")
    lens_parser.add_argument(
        "--rank", type=int, help="of each translator (default: d_model, 128 for models wider than 256)"
    )
    lens_parser.add_argument(
        "--out", metavar="DIR", type=Path, help="where to write (default: where the app looks for it)"
    )
    lens_parser.set_defaults(command=commands.train_lens)
    add_features(choices)

    run_parser = choices.add_parser("run", help="run a prompt, with or without interventions")
    run_parser.add_argument("prompt")
    run_parser.add_argument("--model", default=DEFAULT_MODEL, help="catalog key, hub id or directory")
    run_parser.add_argument("--ablate", action="append", default=[], metavar="SITE=HOW", help=ABLATE_HELP)
    run_parser.add_argument("--corrupt", default="", help="the other prompt of the pair, for means and resampling")
    run_parser.add_argument("--answer", default="", help="one token, with its leading space")
    run_parser.add_argument("--distractor", default="", help="one token; gives the logit difference")
    run_parser.add_argument("--top", type=int, default=5, help="how many next tokens to show")
    run_parser.add_argument("--bos", choices=("default", "on", "off"), default="default")
    run_parser.add_argument("--json", metavar="FILE", type=Path, help="write the result, with its provenance, here")
    run_parser.set_defaults(command=commands.run)
    add_patch(choices)
    add_circuit(choices)
    add_findings(choices)
    return top


def add_features(choices: Any) -> None:
    train = choices.add_parser("train-sae", help="train a sparse dictionary or transcoder, for the Features page")
    train.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    train.add_argument("--site", required=True, metavar="SITE", help="L14.resid_post, L2.transcoder, …")
    train.add_argument("--text", metavar="FILE", type=Path, help="UTF-8 text to train on (default: see the README)")
    train.add_argument("--written", type=int, help="beside a file, so many tokens that the model writes itself")
    train.add_argument("--features", type=int, help="how many (default: 8 times the width of the site, 4 above 512)")
    train.add_argument("--k", type=float, help="features that fire at a token (default: 16, 32 above 512)")
    train.add_argument("--tokens", type=int, help="distinct tokens to train on (default: 1,000,000)")
    train.add_argument("--steps", type=int, help="of 2,048 tokens each (default: 1,500)")
    train.add_argument("--seed", type=int)
    train.add_argument("--no-baseline", action="store_true", help="leave out the dictionary of shuffled weights")
    train.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: where the app looks for it)")
    train.set_defaults(command=feature_commands.train_sae)
    add = choices.add_parser("add-sae", help="check a dictionary of sae-lens against a model, and keep it")
    add.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    add.add_argument("source", metavar="SOURCE", help="a folder, or a release of sae-lens or a hub repository")
    add.add_argument("--id", default="", help="of the dictionary in the release, which is downloaded")
    add.add_argument("--name", default="", help="where another is at its place")
    add.set_defaults(command=feature_commands.add_sae)
    index = choices.add_parser("index", help="index a text for a dictionary: where each feature fires")
    index.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    index.add_argument("--site", required=True, metavar="SITE", help="L14.resid_post, L2.transcoder, …")
    index.add_argument("--text", metavar="FILE", type=Path, help="UTF-8 text (default: see the README)")
    index.add_argument("--tokens", type=int, default=200_000)
    index.set_defaults(command=feature_commands.index)


def add_serve(choices: Any) -> None:
    serve_parser = choices.add_parser("serve", help="start the app in the browser")
    serve_parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: this machine only); others need an access token",
    )
    serve_parser.add_argument("--new-token", action="store_true", help="make another access token; the old one ends")
    serve_parser.add_argument("--port", type=int, default=8501)
    serve_parser.add_argument("--model", default=DEFAULT_MODEL, help="model to load at once")
    serve_parser.add_argument("--executor", choices=("local", "ray"), default="local", help="where dataset runs go; ray: see RAY_ADDRESS")  # fmt: skip
    serve_parser.set_defaults(command=commands.serve)


def add_patch(choices: Any) -> None:
    patch_parser = choices.add_parser("patch", help="activation patching over pairs, with intervals and controls")
    patch_parser.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    source = patch_parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--task", help="draw pairs of this task, such as ioi")
    source.add_argument("--pairs", metavar="FILE", type=Path, help="CSV or JSONL: clean, corrupt, answer, distractor")
    source.add_argument("--resume", metavar="JOB", help="go on with an interrupted job")
    patch_parser.add_argument("--n", type=int, default=100, help="pairs to draw, or to take from the file")
    patch_parser.add_argument("--all", action="store_true", help="also pairs that the model gets wrong")
    patch_parser.add_argument("--site", default="head_out", help="what is patched (default: head_out)")
    patch_parser.add_argument("--by-position", action="store_true", help="each position apart; pairs of one length")
    patch_parser.add_argument("--direction", choices=("denoising", "noising", "both"), default="both")
    patch_parser.add_argument("--control", choices=("positions", "prompts", "none"), default="positions")
    patch_parser.add_argument(
        "--ablate", action="append", default=[], metavar="SITE=HOW", help="zero or mean, in every run"
    )
    patch_parser.add_argument("--seed", type=int, default=0)
    patch_parser.add_argument("--top", type=int, default=10, help="how many of the strongest to print")
    patch_parser.add_argument("--executor", choices=("local", "ray"), default="local", help="ray: see RAY_ADDRESS")
    patch_parser.add_argument("--json", metavar="FILE", type=Path, help="write every effect, with its provenance, here")
    patch_parser.set_defaults(command=commands.patch)


def add_circuit(choices: Any) -> None:
    circuit_parser = choices.add_parser("circuit", help="find a circuit, and score it beside random ones")
    circuit_parser.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    source = circuit_parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--task", help="draw pairs of this task, such as ioi")
    source.add_argument("--pairs", metavar="FILE", type=Path, help="CSV or JSONL: clean, corrupt, answer, distractor")
    circuit_parser.add_argument("--n", type=int, default=60, help="pairs to draw, or to take from the file")
    circuit_parser.add_argument("--all", action="store_true", help="also pairs that the model gets wrong")
    circuit_parser.add_argument(
        "--method", default="eap-ig", choices=("eap", "eap-ig", "mask-gradient", "exact", "acdc", "edge-pruning")
    )
    circuit_parser.add_argument("--keep", help="a share of the influence (0.9) or a number of edges (100)")
    circuit_parser.add_argument("--by-position", action="store_true", help="each position apart; pairs of one length")
    circuit_parser.add_argument("--threshold", type=float, default=0.01, help="of ACDC, in nats")
    circuit_parser.add_argument("--target", type=int, default=100, help="edges that edge pruning keeps")
    circuit_parser.add_argument(
        "--circuit", metavar="FILE", type=Path, help="score this circuit (JSON, GraphML, list of edges)"
    )
    circuit_parser.add_argument("--seed", type=int, default=0)
    circuit_parser.add_argument("--top", type=int, default=10, help="how many edges and nodes to print")
    circuit_parser.add_argument("--json", metavar="FILE", type=Path, help="write the circuit and its scores here")
    circuit_parser.add_argument("--graphml", metavar="FILE", type=Path, help="write its graph here")
    circuit_parser.set_defaults(command=commands.circuit)


def add_findings(choices: Any) -> None:
    audit_parser = choices.add_parser("audit", help="run a standard set of checks on a model, and write a report")
    audit_parser.add_argument("model", metavar="MODEL", help="catalog key, hub id or directory")
    audit_parser.add_argument("--suite", choices=("quick", "full"), default="quick")
    audit_parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to write the report")
    audit_parser.add_argument("--task", help="whose behaviour is explained (default: the first that the model can do)")
    audit_parser.add_argument("--seed", type=int, default=0)
    audit_parser.set_defaults(command=finding_commands.audit)

    report_parser = choices.add_parser("report", help="write a report of kept findings")
    report_parser.add_argument("finding", nargs="*", metavar="ID", help="ids of findings, in order (default: all)")
    report_parser.add_argument("--tag", default="", help="only findings with this tag")
    report_parser.add_argument("--title", default="Findings")
    report_parser.add_argument("--question", default="")
    report_parser.add_argument("--goals", action="store_true", help="with the goals of an audit, and what is not shown")
    report_parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    report_parser.set_defaults(command=finding_commands.report)

    replay_parser = choices.add_parser("replay", help="compute every number of a report again, and say which agree")
    replay_parser.add_argument("report", metavar="REPORT.json", type=Path)
    replay_parser.add_argument("--all", action="store_true", help="print the numbers that agree, too")
    replay_parser.add_argument("--json", metavar="FILE", type=Path, help="write every row here")
    replay_parser.set_defaults(command=finding_commands.replay)


if __name__ == "__main__":
    sys.exit(main())
