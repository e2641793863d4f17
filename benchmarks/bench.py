"""Compare convscope's training with the reference's computation (TensorFlow 1), Keras and PyTorch on this machine.

All train on the same photos and are evaluated on the same held-out ones, each in its own process. Writes fastest.json
after every part, and from it the page fastest.md and the figure fastest.png. The full scale takes an hour on 2 slow
cores and writes into docs/decisions; the others write elsewhere.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from importlib import metadata
from pathlib import Path

from child_processes import ChildFailed
from figure import plot_learning_curves
from folders import make_split
from measurements import MEASURES, TRAININGS, Bench, Results, Skipped
from page import render_page
from plan import PLANS, expected_seconds

from convscope.cli.display import error_console
from convscope.environment import describe_environment
from convscope.files import read_json, write_atomic, write_json
from convscope.formatting import format_duration
from convscope.plotting.style import save_figure

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
DECISIONS, PICTURES = ROOT / "docs" / "decisions", ROOT / "docs" / "pictures"
PARTS = TRAININGS | MEASURES
EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130


def main() -> int:
    """Measure, or only write the page from the JSON; returns the exit code."""
    options = parse_arguments()
    out = options.out or (DECISIONS if options.scale == "full" else Path(tempfile.mkdtemp(prefix="convscope-bench-")))
    if options.describe:
        write_outputs(out, read_json(out / "fastest.json"))
        return EXIT_DONE
    error_console().print(f"writing to {out}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = initial_results(out, options)
    try:
        with tempfile.TemporaryDirectory(prefix="convscope-bench-", ignore_cleanup_errors=True) as work:
            plan = PLANS[options.scale]
            plan = replace(plan, seeds=options.seeds or plan.seeds, first_seed=options.first_seed)
            bench = Bench(options.data, Path(work), plan, options.seed, results)
            is_complete = measure(bench, options.parts, out)
    except KeyboardInterrupt:
        error_console().print(f"interrupted; the finished parts are in {out / 'fastest.json'}")
        return EXIT_INTERRUPTED
    print((out / "fastest.md").read_text(encoding="utf-8"))
    return EXIT_DONE if is_complete else EXIT_FAILED


def parse_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=PLANS, default="full")
    parser.add_argument("--quick", dest="scale", action="store_const", const="quick", help="the same as --scale quick")
    parser.add_argument("--data", type=Path, default=DATA, help="a folder of photos, one sub-folder per class")
    parser.add_argument("--seed", type=int, default=0, help="of the split, and of every training with one seed")
    parser.add_argument("--seeds", type=int, help="trainings of convscope with the long budget, or for the hour")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="of these trainings; from 1 on they are added to those in the JSON"
    )
    parser.add_argument("--out", type=Path, help="the output folder")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        metavar="PART",
        help=f"measure only these and keep the rest of the JSON: {', '.join(PARTS)}; `hour` only if it is named here",
    )
    parser.add_argument("--describe", action="store_true", help="measure nothing: make page and figure from the JSON")
    options = parser.parse_args()
    if options.first_seed and not options.parts:
        parser.error("--first-seed adds to earlier trainings, which needs --parts")
    return options


def initial_results(out: Path, options: argparse.Namespace) -> Results:
    """The JSON before the first part; with --parts it has the earlier results."""
    file = out / "fastest.json"
    earlier = read_json(file) if options.parts and file.exists() else {}
    if earlier and earlier["scale"] != options.scale:
        raise SystemExit(f"{file} is of the scale {earlier['scale']}; choose another --out")
    machine = {**describe_environment(options.data), "data": options.data.name, "command": ["benchmarks/bench.py"]}
    machine["libraries"] |= torch_version()
    kept = {name: earlier.get(name, {}) for name in ("contenders", "measures")}
    return {"format": 1, "scale": options.scale, "seed": options.seed, "machine": machine, "split": {}, **kept}


def measure(bench: Bench, parts: list[str] | None, out: Path) -> bool:
    """Measure the parts one after the other and write after each; returns whether none failed."""
    plan, results = bench.plan, bench.results
    results["split"] = make_split(
        bench.data, bench.split, num_validation=plan.num_validation, max_photos=plan.max_photos, seed=bench.seed
    )
    names = [name for name in PARTS if name in (parts or PARTS) and (parts or name != "hour")]
    failed = []
    for number, name in enumerate(names):
        bench.part, bench.part_started = name, time.monotonic()
        bench.expected = expected_seconds(name, plan)
        bench.expected_after = sum(expected_seconds(later, plan) for later in names[number + 1 :])
        bench.print_progress(f"part {number + 1} of {len(names)}")
        group = results["contenders" if name in TRAININGS else "measures"]
        group[name] = measure_part(bench)
        failed += [name] * ("failed" in group[name])
        write_json(out / "fastest.json", results)
        write_outputs(out, results)
    return not failed


def measure_part(bench: Bench) -> Results:
    """A part's entry of the JSON, or why there is none, with its day and the load average before and after it."""
    load_before = os.getloadavg()[0]
    try:
        entry = PARTS[bench.part](bench)
    except Skipped as reason:
        entry = {"skipped": str(reason)}
    except ChildFailed as reason:
        entry = {"failed": str(reason)}
    for status in ("skipped", "failed"):
        if status in entry:
            error_console().print(f"{bench.part}: {status}: {entry[status]}")
    seconds = time.monotonic() - bench.part_started
    error_console().print(f"{bench.part}: done in {format_duration(seconds)}")
    load = [load_before, os.getloadavg()[0]]
    return {**entry, "wall_seconds": seconds, "load": load, "day": date.today().isoformat()}


def write_outputs(out: Path, results: Results) -> None:
    """Write the page and the figure: into docs/decisions and docs/pictures, or both into `out`."""
    picture = (PICTURES if out.resolve() == DECISIONS else out) / "fastest.png"
    if figure := plot_learning_curves(results):
        save_figure(figure, picture)
    write_atomic(out / "fastest.md", render_page(results, picture=os.path.relpath(picture, out)))


def torch_version() -> dict[str, str]:
    """PyTorch's version, if it is installed."""
    try:
        return {"torch": metadata.version("torch")}
    except metadata.PackageNotFoundError:
        return {}


if __name__ == "__main__":
    sys.exit(main())
