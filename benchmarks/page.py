"""The decision page of the benchmark, made from its JSON and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from figure import NAMES, TARGET
from plan import REFERENCE_STEPS, reference_seconds
from targets import GIGABYTE, last_seconds, percent, seconds_to, spread, targets, two, whole

Facts = dict[str, Any]
GRAPHS = {
    "graph": f"{NAMES['graph']}, float32",
    "graph_onednn": f"{NAMES['graph']}, float32, oneDNN turned on",
}


def describe(facts: Facts, *, picture: str) -> str:
    """The page, in Markdown; `picture` is the figure's place as seen from it."""
    sections = (
        introduction(facts),
        [f"![Accuracy over seconds of training]({picture})", ""] * any_run(facts),
        target_table(facts),
        contender_table(facts),
        throughput_table(facts),
        peak_table(facts),
        cost_table(facts),
        footing(facts),
    )
    return "\n".join(line for section in sections for line in section)


def introduction(facts: Facts) -> Iterator[str]:
    """What this is."""
    split = facts["split"]
    yield "# How fast does convscope get to a good classifier?"
    yield ""
    if facts["scale"] == "full":
        yield "Made by `make bench`; do not edit. The figures stand in `fastest.json` beside this page."
    else:
        yield f"**A run of the scale {facts['scale']}: it shows that everything works; its figures are worth nothing.**"
    yield ""
    yield (
        f"Everybody learns from the same {split['train']:,} photos, from scratch, and is judged on the same"
        f" {split['validation']:,}, drawn by seed {facts['seed']}; each in a process of its own, on the CPU, with its"
        " library's own thread settings. Nothing is averaged over mirror images but where it says so."
    )
    yield ""


def target_table(facts: Facts) -> Iterator[str]:
    """What must be reached, and what is."""
    yield from (
        "## What it must reach",
        "",
        "| figure | must | measured | spread | |",
        "| --- | ---: | ---: | --- | --- |",
    )
    for each in targets(facts):
        yield f"| {each.name} | {each.must} | {each.measured} | {each.spread} | {each.verdict} |"
    yield from (
        "",
        f"A ratio of times is over the time of the TensorFlow 1 graph for 10,000 steps: {told_reference(facts)}.",
        "",
    )


def contender_table(facts: Facts) -> Iterator[str]:
    """Every training."""
    yield from (
        "## The contenders",
        "",
        "| | weights | start, s | training, s | images/s | accuracy | 95 % | mirrored | to 79.5 %, s | peak, GB |"
        " children, GB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    )
    for name in NAMES:
        found = facts["contenders"].get(name, {})
        if "skipped" in found or "failed" in found:
            yield (
                f"| {NAMES[name]} | {one_line(found.get('skipped') or 'failed: ' + found['failed'].splitlines()[-1])} |"
                + " |" * 9
            )
        for run in found.get("runs", []):
            named = f", {found['budget']:.0f} s{told_choices(found)}, seed {run['seed']}" if "budget" in found else ""
            figure, reached = run["accuracy"], seconds_to(run, TARGET)
            interval = f"{figure['low'] * 100:.1f} to {percent(figure['high'])}"
            mirrored = percent(run["mirrored"]["value"]) if "mirrored" in run else "–"
            yield (
                f"| {NAMES[name]}{named} | {run['weights']:,} | {run['start_seconds']:.0f} | {last_seconds(run):.1f} |"
                f" {run['images_per_second']:,.0f} | {percent(figure['value'])} | {interval} |"
                f" {mirrored} | {'–' if reached is None else f'{reached:.1f}'} | {run['peak_bytes'] / GIGABYTE:.2f} |"
                f" {run['children_peak_bytes'] / GIGABYTE:.2f} |"
            )
    yield from (
        "",
        "The first three train the reference's network (Adam 1e-4, 128 px, batches of 32) with each library's usual",
        "means; Keras and PyTorch for a limited time. The graph has every photo in memory as float32; Keras keeps its",
        "own cache; PyTorch decodes in two workers. convscope trains with `--network compact`, a budget, and what its",
        "row names; `mirrored`: each answer averaged with that to the image's mirror image. It refuses to be judged on",
        "near duplicates of what it learned from.",
        "",
        "The seconds of the peers begin at the end of their first step and leave their evaluations out; ours begin",
        "before the first step, after the compiling, and count every evaluation and checkpoint. What comes before, the",
        "loading of libraries, decoding, compiling, is the start; ours finds its photos decoded after the first time.",
        "",
    )


def throughput_table(facts: Facts) -> Iterator[str]:
    """The pace of one network."""
    found = facts["measures"].get("throughput", {})
    if "ratio" not in found:
        return
    yield from (
        "## The same network, step for step",
        "",
        "`classic`, 128 px, batches of 32, in turns, each burst in a fresh process; images/s. convscope turns",
        "oneDNN on; TensorFlow does so by itself only where the processor has AVX-512 VNNI or better.",
        "",
        "| | median | spread | over the graph | spread |",
        "| --- | ---: | --- | ---: | --- |",
    )
    for way, pace in found["images_per_second"].items():
        ratio = found["ratio"].get(way)
        name = GRAPHS.get(way, f"convscope, {way}")
        over = f"{ratio['median']:.2f} | {spread(ratio, two)}" if ratio else "1 |" if way == "graph" else "|"
        yield f"| {name} | {pace['median']:,.0f} | {spread(pace, whole)} | {over} |"
    yield ""


def peak_table(facts: Facts) -> Iterator[str]:
    """The machine's peak, and what a training step makes of it."""
    found = facts["measures"].get("peak", {})
    if "steps" not in found:
        return
    yield from ("## How much of the machine a step of `compact` uses", "")
    yield "| | GFLOP/s | spread | of the peak in its precision | spread | images/s |"
    yield "| --- | ---: | --- | ---: | --- | ---: |"
    for precision, peak in found["peak"].items():
        rows = [each for each in found["products"] if each["precision"] == precision]
        best = max(rows, key=lambda each: float(each["gflop_per_second"]["median"]))
        yield f"| peak in {precision}: {best['name']} | {peak['median']:,.0f} | {spread(peak, whole)} | 1 | | |"
    for step in found["steps"]:
        pace, images = step["gflop_per_second"], step["images_per_second"]["median"]
        share = f"{step['share']['median']:.2f} | {spread(step['share'], two)}"
        name = f"a step at {step['size']} px, {step['precision']}, {step['batch']} images"
        yield f"| {name} | {pace['median']:,.0f} | {spread(pace, whole)} | {share} | {images:,.0f} |"
    yield from (
        "",
        "The peak is the best median among products of matrices in TensorFlow and PyTorch and convolutions in",
        "TensorFlow; the operations of a step are three times those of its convolutions and dense layers forward, and",
        "its batches are made beside it. Products and steps are timed in turns, a turn within a minute.",
        "",
    )


def cost_table(facts: Facts) -> Iterator[str]:
    """Time and memory by the number of photos."""
    found = facts["measures"].get("cost", {})
    if "rows" not in found:
        return
    yield from (
        "## What more photos cost",
        "",
        f"A whole `train` of {found['steps']} steps of `compact`, nothing decoded before; where there are not as many"
        " photos, the rest are copies under other names. One run each.",
        "",
        "| photos | seconds | of these until the first step | peak, GB | its decoding children, GB |",
        "| ---: | ---: | ---: | ---: | ---: |",
    )
    for row in found["rows"]:
        yield (
            f"| {row['images']:,} | {row['seconds']:.0f} | {row['first_step_seconds']:.0f} |"
            f" {row['peak_bytes'] / GIGABYTE:.2f} | {row['children_peak_bytes'] / GIGABYTE:.2f} |"
        )
    yield from (
        "",
        "Resident memory includes the pages of the decoded images that the system has mapped and may take back.",
        "",
    )


def footing(facts: Facts) -> Iterator[str]:
    """The machine, when it was measured, and how busy it was."""
    machine = facts["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    parts = {**facts["contenders"], **facts["measures"]}
    sittings = [(name, each) for name, part in parts.items() for each in sittings_of(part)]
    loads = ", ".join(f"{name} {each['load'][0]:.1f} to {each['load'][1]:.1f}" for name, each in sittings)
    yield (
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['platform']},"
        f" Python {machine['python']}, {versions}."
    )
    yield ""
    days: dict[str, list[str]] = {}
    for name, each in sittings:
        if name not in days.setdefault(each["day"], []):
            days[each["day"]].append(name)
    yield "Measured on " + "; on ".join(f"{day}: {', '.join(days[day])}" for day in sorted(days)) + "."
    yield ""
    yield (
        f"Load average of a minute before and after each part or training: {loads}. Before it should be near 0, after"
        f" no more than {machine['cores'] + 1}: more means that other work shared the cores."
    )
    yield ""


def sittings_of(part: Facts) -> list[Facts]:
    """What tells its own day and load: each training of a part that has them, else the part."""
    return [run for run in part.get("runs", []) if "load" in run] or [part]


def told_reference(facts: Facts) -> str:
    """The reference's time in words."""
    seconds = reference_seconds(facts)
    if seconds is None:
        return "not measured"
    steps = facts["contenders"]["graph"]["runs"][0]["points"][-1]["step"]
    taken = "" if steps == REFERENCE_STEPS else f", by the pace of the {steps:,} that were taken"
    return f"{seconds:.0f} s here{taken}"


def told_choices(found: Facts) -> str:
    """What a training's recipe says otherwise than by default."""
    return f", `{found['choices']}`" if found.get("choices") else ""


def any_run(facts: Facts) -> bool:
    """Whether any contender has been run."""
    return any(each.get("runs") for each in facts["contenders"].values())


def one_line(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
