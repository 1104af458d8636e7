"""`python -m benchmarks`: measure, print each line as it is done, and write the table."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from pathlib import Path

from . import report, runner
from .lines import MACHINE, RAY, Result

RESULTS = Path(__file__).with_name("RESULTS.md")


def pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from error
    return text


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes and short samples: rough figures in a minute or two"
    )
    parser.add_argument("--only", default="", type=pattern, metavar="REGEX", help="only the lines whose name matches")
    parser.add_argument(
        "--big",
        action="store_true",
        help="also what takes most of a machine: 5,000 actors alive at once, a sort of 10 GB",
    )
    parser.add_argument(
        "--vs-ray", default="", metavar="PYTHON", help="an interpreter that has Ray: the same programs on both"
    )
    parser.add_argument(
        "--out", type=Path, help="where to write the table; by default a complete run updates RESULTS.md"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample as JSON")
    options = parser.parse_args()
    if options.out is None and not options.quick and not options.only:
        options.out = RESULTS
    return options


def show(result: Result) -> None:
    name = result.name if result.system != RAY else f"  Ray: {result.name}"
    if result.system == MACHINE:
        name = f"  machine: {result.name}"
    unit = "" if result.error else result.unit
    print(f"{name:<66} {report.spread(result)} {unit}", flush=True)


def main() -> int:
    options = parse()
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # what was started is ended, as after Ctrl-C
    plan = runner.Plan(options.only, options.quick, options.big, options.vs_ray)
    results = runner.run(plan, show)
    if not results:
        print(f"no line matches {options.only!r}; leave --only out to see all names", file=sys.stderr)
        return 2
    page = report.markdown(results, options.vs_ray, options.quick)
    if options.out:
        options.out.write_text(page)
        print(f"\nwritten to {options.out}")
    else:
        print("\n" + page)
    if options.json:
        options.json.write_text(json.dumps([r.to_dict() for r in results], indent=1) + "\n")
    return 1 if any(r.error for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
