"""The decision record of the benchmark, docs/decisions/fastest.md, rendered from its JSON alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from figure import LABELS
from plan import REFERENCE_STEPS, reference_seconds
from records import bullets, describe_machine, paragraph, record, table
from targets import (
    GIGABYTE,
    REFERENCE_ACCURACY,
    format_spread,
    list_targets,
    no_decimals,
    percent,
    seconds_to_accuracy,
    training_seconds,
    two_decimals,
)

Results = dict[str, Any]
GRAPH_LABELS = {
    "graph": f"{LABELS['graph']}, float32",
    "graph_onednn": f"{LABELS['graph']}, float32, oneDNN on",
}


def render_page(results: Results, *, picture: str) -> str:
    """The page in Markdown; `picture` is the path of the figure relative to the page."""
    split = results["split"]
    is_smaller = results["scale"] != "full"
    warning = f"Scale {results['scale']}: this run tests the benchmark; its values mean nothing. " if is_smaller else ""
    return record(
        "Which training gives a good classifier soonest?",
        source="`make bench`",
        question=(
            f"{warning}How accurate is a classifier from scratch after a given time on a CPU: with the reference's"
            " computation in TensorFlow 1, with the same network in Keras 3 and in PyTorch, and with convscope's"
            f" `compact`? All train on the same {split['train']:,} photos of {results['machine']['data']} and are"
            f" evaluated on the same {split['validation']:,} held-out ones, drawn by seed {results['seed']}."
        ),
        kept=f"`--network compact` with the time as its `--budget`. {count_verdicts(results)}",
        machine=describe_machine(results["machine"]),
        sections=(
            "## Result",
            f"![Accuracy over training time]({picture})" if has_runs(results) else "",
            target_table(results),
            *tried_sections(results),
            why_section(),
            conditions_section(results),
        ),
    )


def count_verdicts(results: Results) -> str:
    """How many targets are met, missed and not measured."""
    verdicts = Counter(target.is_met for target in list_targets(results))
    return f"Of its targets, {verdicts[True]} are met, {verdicts[False]} missed, {verdicts[None]} not measured."


def target_table(results: Results) -> str:
    """The targets."""
    rows = [
        (target.name, target.bound, target.measured, target.spread, target.verdict) for target in list_targets(results)
    ]
    note = f"Time ratios are over the TensorFlow 1 graph's {REFERENCE_STEPS:,} steps: {describe_reference(results)}."
    return f"{table('quantity | target: | measured: | spread | ', rows)}\n\n{paragraph(note)}"


def describe_reference(results: Results) -> str:
    """The reference's time as text."""
    seconds = reference_seconds(results)
    if seconds is None:
        return "not measured"
    steps = results["contenders"]["graph"]["runs"][0]["points"][-1]["step"]
    extrapolated = "" if steps == REFERENCE_STEPS else f", extrapolated from the {steps:,} that were taken"
    return f"{seconds:.0f} s here{extrapolated}"


def tried_sections(results: Results) -> Iterator[str]:
    """Everything that was compared."""
    measures = results["measures"]
    yield "## What was tried: networks and libraries"
    yield training_table(results)
    if "ratio" in measures.get("throughput", {}):
        yield "## What was tried: the same network, step by step"
        yield throughput_table(measures["throughput"])
    if "steps" in measures.get("peak", {}):
        yield "## What a step of `compact` uses of the machine"
        yield peak_table(measures["peak"])
    if "rows" in measures.get("cost", {}):
        yield "## What more photos cost"
        yield cost_table(measures["cost"])


def training_table(results: Results) -> str:
    """All trainings, and how they were made."""
    rows = [row for name in LABELS for row in training_rows(name, results["contenders"].get(name, {}))]
    columns = (
        f" | weights: | start, s: | training, s: | images/s: | accuracy: | 95 %: | flips averaged: |"
        f" to {percent(REFERENCE_ACCURACY)}, s: | peak, GB: | child processes, GB:"
    )
    notes = (
        "The first three train the reference's network (Adam 1e-4, 128 px, batches of 32) as each library documents"
        " it; Keras and PyTorch for a limited time. The graph has all photos in memory as float32, Keras has its own"
        " cache, PyTorch decodes in two worker processes.",
        "convscope trains with `--network compact`, the budget, and the flags of the row. *Flips averaged*: the"
        " probabilities of each image and its horizontal flip are averaged (test-time augmentation); no other"
        " accuracy is. Training photos that are near duplicates of held-out ones are refused.",
        "*Start*: loading libraries, decoding photos, compiling. The first training of convscope fills its cache of"
        " decoded photos, the later ones use it.",
        "*Training*: of the first three from the end of the first step, without evaluations; of convscope from before"
        " the first step, after compiling, with all evaluations and checkpoints.",
        "Each runs in its own process on the CPU, with its library's default threads.",
    )
    return f"{table(columns, rows)}\n\n{bullets(notes)}"


def training_rows(name: str, part: Results) -> Iterator[tuple[str, ...]]:
    """A row for each training of a competitor, or the reason why there is none."""
    if "skipped" in part or "failed" in part:
        reason = part.get("skipped") or "failed: " + part["failed"].splitlines()[-1]
        yield LABELS[name], " ".join(reason.split()).replace("|", "\\|"), *[""] * 9
    for run in part.get("runs", []):
        flags = f", `{part['choices']}`" if part.get("choices") else ""
        settings = f", {part['budget']:.0f} s{flags}, seed {run['seed']}" if "budget" in part else ""
        accuracy, reached = run["accuracy"], seconds_to_accuracy(run, REFERENCE_ACCURACY)
        yield (
            f"{LABELS[name]}{settings}",
            f"{run['weights']:,}",
            f"{run['start_seconds']:.0f}",
            f"{training_seconds(run):.1f}",
            f"{run['images_per_second']:,.0f}",
            percent(accuracy["value"]),
            f"{accuracy['low'] * 100:.1f} to {percent(accuracy['high'])}",
            percent(run["mirrored"]["value"]) if "mirrored" in run else "–",
            "–" if reached is None else f"{reached:.1f}",
            f"{run['peak_bytes'] / GIGABYTE:.2f}",
            f"{run['children_peak_bytes'] / GIGABYTE:.2f}",
        )


def throughput_table(throughput: Results) -> str:
    """The throughput of `classic`."""
    rows = []
    for variant, speed in throughput["images_per_second"].items():
        ratio = throughput["ratio"].get(variant)
        over_graph = f"{ratio['median']:.2f}" if ratio else "1" if variant == "graph" else ""
        rows.append(
            (
                GRAPH_LABELS.get(variant, f"convscope, {variant}"),
                f"{speed['median']:,.0f}",
                format_spread(speed, no_decimals),
                over_graph,
                format_spread(ratio or {}, two_decimals),
            )
        )
    note = (
        "`classic`, 128 px, batches of 32; images/s, in turns, each burst in a new process. convscope turns oneDNN on;"
        " TensorFlow does so by itself only where the processor has AVX-512 VNNI or better."
    )
    return f"{paragraph(note)}\n\n{table(' | median: | spread | over the graph: | spread', rows)}"


def peak_table(peak: Results) -> str:
    """The machine's matrix peak, and the share of it that a training step reaches."""
    rows = []
    for precision, speed in peak["peak"].items():
        products = [product for product in peak["products"] if product["precision"] == precision]
        fastest = max(products, key=lambda product: float(product["gflop_per_second"]["median"]))
        name = f"peak in {precision}: {fastest['name']}"
        rows.append((name, f"{speed['median']:,.0f}", format_spread(speed, no_decimals), "1", "", ""))
    for step in peak["steps"]:
        speed, share = step["gflop_per_second"], step["share"]
        rows.append(
            (
                f"a step at {step['size']} px, {step['precision']}, {step['batch']} images",
                f"{speed['median']:,.0f}",
                format_spread(speed, no_decimals),
                f"{share['median']:.2f}",
                format_spread(share, two_decimals),
                f"{step['images_per_second']['median']:,.0f}",
            )
        )
    note = (
        "The peak is the best median among matrix products in TensorFlow and PyTorch and convolutions in TensorFlow."
        " The operations of a step are three times those of its convolutions and dense layers forward; its batches"
        " are prepared meanwhile. Products and steps are timed in turns, a turn within a minute."
    )
    columns = " | GFLOP/s: | spread | of the peak in its precision: | spread | images/s:"
    return f"{paragraph(note)}\n\n{table(columns, rows)}"


def cost_table(cost: Results) -> str:
    """Time and memory by the number of photos."""
    rows = [
        (
            f"{row['images']:,}",
            f"{row['seconds']:.0f}",
            f"{row['first_step_seconds']:.0f}",
            f"{row['peak_bytes'] / GIGABYTE:.2f}",
            f"{row['children_peak_bytes'] / GIGABYTE:.2f}",
        )
        for row in cost["rows"]
    ]
    note = (
        f"A complete `train` of {cost['steps']} steps of `compact` with an empty cache; where there are not as many"
        f" photos, the rest are copies under other names. n = {cost['n']} each. Resident memory includes pages of"
        " decoded images that the system has mapped and may take back."
    )
    columns = "photos: | seconds: | of these until the first step: | peak, GB: | decoding processes, GB:"
    return f"{paragraph(note)}\n\n{table(columns, rows)}"


def why_section() -> str:
    """Why `compact` is kept, and where its parts were measured."""
    reasons = (
        "**Faster steps are not enough**: the reference's network ends at 79 % after its 10,000 steps"
        " ([reference.md](reference.md)). What each change of `compact` gains is in [compact.md](compact.md).",
        "**Ratios are measured in turns**, and time ratios are over the reference's time on the same machine: the speed"
        " of a machine changes within the hour.",
    )
    return f"## Why\n\n{bullets(reasons)}"


def conditions_section(results: Results) -> str:
    """The days of the measurements, and the load of the machine."""
    parts = {**results["contenders"], **results["measures"]}
    sessions = [(name, session) for name, part in parts.items() for session in sessions_of(part)]
    names_by_day: dict[str, list[str]] = {}
    for name, session in sessions:
        names = names_by_day.setdefault(session["day"], [])
        if name not in names:
            names.append(name)
    days = "; on ".join(f"{day}: {', '.join(names_by_day[day])}" for day in sorted(names_by_day))
    loads = ", ".join(f"{name} {session['load'][0]:.1f} to {session['load'][1]:.1f}" for name, session in sessions)
    note = (
        f"Load average of a minute before and after each part or training: {loads}. Before it should be near 0, after"
        f" no more than {results['machine']['cores'] + 1}: more means that other work shared the cores."
    )
    return "\n\n".join(("## Conditions", paragraph(f"Measured on {days}."), paragraph(note)))


def sessions_of(part: Results) -> list[Results]:
    """What has its own day and load: each training of a part that has them, else the part."""
    return [run for run in part.get("runs", []) if "load" in run] or [part]


def has_runs(results: Results) -> bool:
    """Whether any competitor has been trained."""
    return any(part.get("runs") for part in results["contenders"].values())
