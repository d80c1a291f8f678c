"""What there is: `python -m benchmarks`, and `python -m benchmarks NAME ...` for `python -m benchmarks.NAME ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fewshot.console import run_as_main, run_command, say
from fewshot.errors import one_of

COMMANDS = {
    "run": "meta-train and test a few-shot learner",
    "optimize": "meta-train and test an optimizer of network weights, or a hand-designed one",
    "predict": "classify your own images with a few-shot learner, from a few labelled ones",
    "pretrain": "pre-train or import a backbone, which SIB and nearest centroids learn from",
    "sweep": "choose options on validation, and judge what was chosen on fresh seeds and test problems",
    "paper": "make a table or figure of the paper by name",
    "report": "tables, figures and a page of all records",
    "speed": "how fast it is here",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, or list them."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words and words[0] not in ("-h", "--help"):
        one_of("command", words[0], COMMANDS)
        run_as_main(f"benchmarks.{words[0]}", words[1:])
        return
    width = max(map(len, COMMANDS))
    lines = [f"  python -m benchmarks.{name:{width}}  {what}" for name, what in COMMANDS.items()]
    say("\n".join(["Commands (each has --help), also as `fewshot-bench NAME`:", *lines]))


def script() -> None:
    """The console script `fewshot-bench`."""
    run_command(main)


if __name__ == "__main__":
    script()
