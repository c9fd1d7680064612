"""What the commands of the command line do."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, cast, get_args

from explorer.access import LOOPBACK, new_token, token_made
from explorer.core.errors import StateError
from explorer.models.catalog import CATALOG
from explorer.models.info import in_millions

ABLATE_HELP = "site=how, for example L23H3=zero, L5.mlp_out=mean or L9H6=resample (with --corrupt); may be repeated"


def serve(options: argparse.Namespace) -> int:
    """Start Streamlit in this process, with the model loading beside it."""
    from explorer.serve import start

    if options.new_token or options.host not in LOOPBACK:
        tell_token(options.new_token)
    print(f"Circuit Explorer: http://{options.host}:{options.port}", flush=True)
    start(options.host, options.port, options.model, options.executor)
    return 0


def tell_token(new: bool) -> None:
    """The access token, where one is made: once, on the terminal alone."""
    if made := "" if new else token_made():
        print(f"Other machines need the access token made on {made} UTC (make another with --new-token).", flush=True)
    else:
        print(f"Access token for other machines, shown this once: {new_token()}", flush=True)


def models(options: argparse.Namespace) -> int:
    """List the catalog, or prepare one model."""
    from explorer.core.records import to_record

    if options.prepare:
        from explorer.engine.model import load_model

        model = load_model(options.prepare)
        print(f"{model.info.key}: ready, {model.backend}; {model.check}")
        write_json(
            options.json, {"info": to_record(model.info), "backend": model.backend, "check": to_record(model.check)}
        )
        return 0
    for row in CATALOG.values():
        print(f"{row.key:<26} {row.title}, {in_millions(row.n_parameters)} parameters, {row.licence}: {row.note}")
    print("Any hub id (for example gpt2) or directory with config.json and *.safetensors works too.")
    write_json(options.json, {"models": [to_record(row) for row in CATALOG.values()]})
    return 0


def tasks(options: argparse.Namespace) -> int:
    """Print a line a task: pairs right, and prompts whose likeliest token is right."""
    from explorer.analyses.task_pairs import task_pairs
    from explorer.core.records import to_record
    from explorer.engine.model import load_model
    from explorer.prompts.tasks import FOR_ANY_MODEL

    model = load_model(options.model)
    results = []
    print(f"{'task':<16} {'pairs right':>12} {'top-1':>7}")
    for key in options.task or FOR_ANY_MODEL:
        result = task_pairs(model, key, options.n, seed=options.seed, held_out=options.held_out)
        print(f"{key:<16} {result.accuracy:>12.3f} {result.top1:>7.3f}", flush=True)
        results.append(
            {
                "task": key,
                "accuracy": result.accuracy,
                "top1": result.top1,
                "refused": result.refused,
                "pairs": result.frame.to_dict("records"),
                "provenance": to_record(result.provenance),
            }
        )
    write_json(options.json, {"tasks": results})
    return 0


def train(options: argparse.Namespace) -> int:
    """Train a model, write its files, measure it and write its card."""
    from explorer.training.run import recipe_of, train_and_measure

    recipe = recipe_of(options.key)
    directory = options.out or Path(options.key)
    card = train_and_measure(recipe, directory)
    print(
        f"{directory}: {card['steps']:,} steps, {card['cpu_minutes']} CPU-minutes, weights {card['weight_hash'][:12]}…"
    )
    return 0


def train_lens(options: argparse.Namespace) -> int:
    """Train a tuned lens, measure it on held-out text, and say where it lies."""
    from explorer.engine.model import load_model
    from explorer.models.tuned_lens import read_lens
    from explorer.training.lens import lens_recipe
    from explorer.training.lens import train_lens as train

    model = load_model(options.model)
    path = train(model, lens_recipe(model, options.steps, options.rank), options.out, options.text)
    record = read_lens(path, model.info).record
    print(f"{'after layer':<12} {'KL, logit lens':>15} {'KL, tuned lens':>15}   (nats to the output, held-out text)")
    for layer, (plain, tuned) in enumerate(zip(record["kl_logit"], record["kl_tuned"], strict=True)):
        print(f"{layer:<12} {plain:>15.3f} {tuned:>15.3f}")
    print(f"{path}: {record['steps']:,} steps, {record['cpu_minutes']} CPU-minutes")
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a prompt and print the likeliest next tokens, baseline beside changed."""
    from explorer.analyses.prediction import prediction
    from explorer.core.records import to_record
    from explorer.engine.model import load_model
    from explorer.prompts.tokens import visible

    stack = tuple(read_ablation(text, options) for text in options.ablate)
    model = load_model(options.model)
    result = prediction(
        model,
        options.prompt,
        stack,
        answer=options.answer,
        distractor=options.distractor,
        k=options.top,
        bos=options.bos,
    )
    shown = result.frame.assign(token=result.frame["token"].map(visible))
    print(shown.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    for name, score in (("baseline", result.baseline), ("changed", result.changed)):
        if score is not None:
            difference = "" if score.logit_difference is None else f"logit difference {score.logit_difference:.4f}, "
            print(f"{name}: {difference}P(answer) {score.answer_prob:.4f}, rank {score.answer_rank}")
    if stack:
        print(f"KL(baseline ‖ changed): {result.kl:.4f} nats")
    write_json(
        options.json,
        {
            "top": result.frame.to_dict("records"),
            "baseline": to_record(result.baseline),
            "changed": to_record(result.changed),
            "kl": result.kl,
            "provenance": to_record(result.provenance),
        },
    )
    return 0


def patch(options: argparse.Namespace) -> int:
    """Run a dataset job to its end, and print the strongest effects of each direction."""
    from explorer.engine.model import load_model
    from explorer.jobs.report import printed, result_record
    from explorer.jobs.service import JobService
    from explorer.jobs.store import Store

    store = Store()
    source = options.model
    model = load_model(source)
    service = JobService(lambda name: model, store, options.executor)
    if options.resume:
        job = options.resume
        store.spec(job)  # says where there is none
        service.resume(job)
    else:
        job = service.submit(patching_spec(options, model), f"{options.task or options.pairs.name}, {options.site}")
    print(f"job {job} (if this is stopped: circuit-explorer patch {source} --resume {job})", flush=True)
    wait_for(service, job)
    stored, result = store.job(job), service.result(job, model)
    if stored is None or stored.state != "done" or result is None:
        raise StateError(f"The job did not finish: {stored.error if stored else 'it is gone'}")
    print(printed(result, options.top))
    write_json(options.json, result_record(result, options.top))
    return 0


def wait_for(service: Any, job: str) -> None:
    """Until a job ends, with its progress on a terminal."""
    while not service.wait(job, 0.5):
        running = service.status(job)
        if running is not None and sys.stderr.isatty():
            print(f"\r{running.done:,} of {running.pairs:,}, {running.left}   ", end="", file=sys.stderr)


def pairs_of(options: argparse.Namespace, model: Any) -> Any:
    """Pairs of a task or a file, the wrong ones left out unless asked for; `PairError` where none is left."""
    from explorer.analyses.task_pairs import task_pairs
    from explorer.core.errors import PairError
    from explorer.prompts.pair_files import read_pair_path

    if options.task:
        found = task_pairs(model, options.task, options.n, seed=options.seed)
        pairs = found.pairs if options.all else found.right
        print(
            f"{len(found.right)} of {len(found.pairs)} pairs are right"
            + ("" if options.all else "; the others are left out")
        )
    else:
        file = read_pair_path(options.pairs, model.tokenizer, model.info.n_ctx)
        print(file.summary)
        for row, reason in file.refused[:20]:
            print(f"  row {row}: {reason.splitlines()[0]}", file=sys.stderr)
        pairs = file.pairs[: options.n]
    if not pairs:
        raise PairError("No pair is left to run.")
    return tuple(pairs)


def patching_spec(options: argparse.Namespace, model: Any) -> Any:
    """What to run, from the options."""
    from explorer.engine.sweep_plan import plan_sweep
    from explorer.jobs.patching import BOTH, PatchingSpec

    pairs = pairs_of(options, model)
    plan_sweep(model, options.site, [model.tokenize(pairs[0].clean)])  # says where the site does not exist
    stack = tuple(read_ablation(text, options) for text in options.ablate)
    control = None if options.control == "none" or (options.by_position and options.control == "positions") else options.control  # fmt: skip
    return PatchingSpec(
        options.model, model.info.dtype, model.info.weight_hash, pairs, options.site, options.by_position,
        BOTH if options.direction == "both" else (options.direction,), control,
        ((stack, stack),) * len(pairs) if stack else (), options.seed,
    )  # fmt: skip


def circuit(options: argparse.Namespace) -> int:
    """Find a circuit (or read one), and print its scores."""
    from explorer.circuits.discovery import STEPS, Discovery, DiscoverySpec, checked
    from explorer.circuits.edge_scores import circuit_of
    from explorer.circuits.evaluation import evaluate_circuit
    from explorer.circuits.exchange import read_circuit, to_graphml
    from explorer.circuits.report import printed, record
    from explorer.engine.edges import graph_of
    from explorer.engine.model import load_model

    model = load_model(options.model)
    pairs = pairs_of(options, model)
    scores = None
    if options.circuit:
        found, remarks = read_circuit(read_bytes(options.circuit), graph_of(model))
        print("\n".join(remarks))
    else:
        spec = DiscoverySpec(
            options.model, model.info.dtype, model.info.weight_hash, pairs, options.method, STEPS.get(options.method, 1),
            options.by_position, options.threshold, options.target, options.seed,
        )  # fmt: skip
        scores = run_job(spec, Discovery(model, checked(spec)), options, model)
        found = circuit_of(
            scores, number_of(options.keep) if options.keep else (scores.natural if scores.natural is not None else 0.9)
        )
    evaluation = evaluate_circuit(model, found, pairs, seed=options.seed)
    print(printed(found, scores, evaluation, options.top))
    write_json(options.json, record(found, evaluation))
    if options.graphml is not None:
        write_text(options.graphml, to_graphml(found))
    return 0


def run_job(spec: Any, discovery: Any, options: argparse.Namespace, model: Any) -> Any:
    """The scores of a discovery, as a job that a later call of the same command goes on with."""
    from explorer.jobs.kinds import write_spec
    from explorer.jobs.service import JobService
    from explorer.jobs.store import Store

    store = Store()
    service = JobService(lambda name: model, store)
    job = store.same(write_spec(spec))
    stored = None if job is None else store.job(job)
    if job is None or stored is None:
        job = service.submit(spec, f"{spec.method}: {len(spec.pairs)} pairs", sum(map(len, discovery.pieces())))
    elif stored.state != "done":
        print(f"going on with job {job}", flush=True)
        service.resume(job)
    wait_for(service, job)
    stored, found = store.job(job), service.result(job, model)
    if stored is None or stored.state != "done" or found is None:
        raise StateError(f"The work did not finish: {stored.error if stored else 'it is gone'}")
    return found


def number_of(text: str) -> float | int:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError as error:
        raise StateError(f"--keep {text}: expected a share such as 0.9, or a number of edges such as 100.") from error


def read_ablation(text: str, options: argparse.Namespace) -> Any:
    from explorer.core.pairs import ContrastPair
    from explorer.core.sites import parse_site
    from explorer.engine.interventions import Ablate, AblationKind, references_of

    name, _, how = text.partition("=")
    if how not in get_args(AblationKind):
        raise StateError(f"--ablate {text}: expected {ABLATE_HELP}.")
    if how == "resample" and not getattr(options, "corrupt", "").strip():
        raise StateError(f"--ablate {text}: resampling takes its values from another prompt; give it with --corrupt.")
    kind = cast("AblationKind", how)
    pair = ContrastPair(getattr(options, "prompt", ""), getattr(options, "corrupt", ""))
    return Ablate(parse_site(name), kind, reference=references_of(pair, kind))


def write_json(path: Path | None, value: dict[str, Any]) -> None:
    if path is not None:
        write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}.") from error


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}.") from error
