"""The fastest way to a good classifier on this machine: the reference's computation, Keras, PyTorch, and convscope.

Everybody learns from the same photos and is judged on the same ones, held back by seed, each in a process of its own.
Writes fastest.json after every part, then from it the page fastest.md and the figure fastest.png. The full scale takes
an hour on 2 slow cores and writes docs/decisions; the others write elsewhere.
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
from typing import Any

from children import ChildFailed
from figure import plot_contenders
from folders import make_split
from measures import CONTENDERS, MEASURES, Bench, Facts, Skipped
from page import describe
from plan import PLANS, expected_seconds

from convscope.cli.display import error_console
from convscope.environment import describe_environment
from convscope.files import read_json, write_atomic, write_json
from convscope.formatting import format_duration
from convscope.plotting.style import save_figure

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "dogs-vs-cats"
DECISIONS, PICTURES = ROOT / "docs" / "decisions", ROOT / "docs" / "pictures"
PARTS = CONTENDERS | MEASURES
DONE, FAILED, STOPPED = 0, 1, 130


def main() -> int:
    """Measure, or only describe what was measured."""
    chosen = read_words()
    out = chosen.out or (DECISIONS if chosen.scale == "full" else Path(tempfile.mkdtemp(prefix="convscope-bench-")))
    if chosen.describe:
        write_description(out, read_json(out / "fastest.json"))
        return DONE
    error_console().print(f"writing to {out}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts = begin(out, chosen)
    try:
        with tempfile.TemporaryDirectory(prefix="convscope-bench-", ignore_cleanup_errors=True) as work:
            plan = PLANS[chosen.scale]
            plan = replace(plan, seeds=chosen.seeds or plan.seeds, first_seed=chosen.first_seed)
            bench = Bench(chosen.data, Path(work), plan, chosen.seed, facts)
            is_whole = measure(bench, chosen.parts, out)
    except KeyboardInterrupt:
        error_console().print(f"stopped; the parts that were done stand in {out / 'fastest.json'}")
        return STOPPED
    print((out / "fastest.md").read_text(encoding="utf-8"))
    return DONE if is_whole else FAILED


def read_words() -> argparse.Namespace:
    """The command line."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--scale", choices=PLANS, default="full")
    words.add_argument("--quick", dest="scale", action="store_const", const="quick", help="the same as --scale quick")
    words.add_argument("--data", type=Path, default=DATA, help="a folder of photos, one sub-folder per class")
    words.add_argument("--seed", type=int, default=0, help="of the split, and of every training that has one seed")
    words.add_argument("--seeds", type=int, help="how often convscope learns for long, or for the hour: a seed each")
    words.add_argument(
        "--first-seed", type=int, default=0, help="of these; with another than 0 they join those that were measured"
    )
    words.add_argument("--out", type=Path, help="where it writes")
    words.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        metavar="PART",
        help=f"measure these only and keep the rest of the JSON: {', '.join(PARTS)}; `hour` only when it is named",
    )
    words.add_argument("--describe", action="store_true", help="measure nothing: make page and figure from the JSON")
    chosen = words.parse_args()
    if chosen.first_seed and not chosen.parts:
        words.error("--first-seed keeps what was measured before, and so needs --parts")
    return chosen


def begin(out: Path, chosen: argparse.Namespace) -> Facts:
    """What stands in the JSON before the first part: nothing, or with --parts what was measured before."""
    file = out / "fastest.json"
    old = read_json(file) if chosen.parts and file.exists() else {}
    if old and old["scale"] != chosen.scale:
        raise SystemExit(f"{file} is of the scale {old['scale']}; choose another --out")
    machine = {**describe_environment(chosen.data), "data": chosen.data.name, "command": ["benchmarks/bench.py"]}
    machine["libraries"] |= torch_version()
    kept = {name: old.get(name, {}) for name in ("contenders", "measures")}
    return {"format": 1, "scale": chosen.scale, "seed": chosen.seed, "machine": machine, "split": {}, **kept}


def measure(bench: Bench, parts: list[str] | None, out: Path) -> bool:
    """Measure part after part and write after each; returns whether none failed."""
    plan, facts = bench.plan, bench.facts
    facts["split"] = make_split(bench.data, bench.split, held_out=plan.held_out, most=plan.most_photos, seed=bench.seed)
    names = [name for name in PARTS if name in (parts or PARTS) and (parts or name != "hour")]
    failed = []
    for number, name in enumerate(names):
        bench.part, bench.since = name, time.monotonic()
        bench.expected = expected_seconds(name, plan)
        bench.after = sum(expected_seconds(each, plan) for each in names[number + 1 :])
        bench.say(f"part {number + 1} of {len(names)}")
        group = facts["contenders" if name in CONTENDERS else "measures"]
        group[name] = measure_part(bench)
        failed += [name] * ("failed" in group[name])
        write_json(out / "fastest.json", facts)
        write_description(out, facts)
    return not failed


def measure_part(bench: Bench) -> Facts:
    """One part's facts, or why there are none, with its day and the load of the machine before and after it."""
    before, found = os.getloadavg(), dict[str, Any]()
    try:
        found = PARTS[bench.part](bench)
    except Skipped as reason:
        found = {"skipped": str(reason)}
    except ChildFailed as reason:
        found = {"failed": str(reason)}
    for word in ("skipped", "failed"):
        if word in found:
            error_console().print(f"{bench.part}: {word}: {found[word]}")
    seconds = time.monotonic() - bench.since
    error_console().print(f"{bench.part}: done in {format_duration(seconds)}")
    load = [before[0], os.getloadavg()[0]]
    return {**found, "wall_seconds": seconds, "load": load, "day": date.today().isoformat()}


def write_description(out: Path, facts: Facts) -> None:
    """The page and the figure: in docs/decisions and docs/pictures, or both in `out`."""
    is_kept = out.resolve() == DECISIONS
    picture = (PICTURES if is_kept else out) / "fastest.png"
    if figure := plot_contenders(facts):
        save_figure(figure, picture)
    write_atomic(out / "fastest.md", describe(facts, picture=os.path.relpath(picture, out)))


def torch_version() -> dict[str, str]:
    """PyTorch's version, where it is installed."""
    try:
        return {"torch": metadata.version("torch")}
    except metadata.PackageNotFoundError:
        return {}


if __name__ == "__main__":
    sys.exit(main())
