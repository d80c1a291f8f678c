"""What there is: `python -m benchmarks`."""

from fewshot.console import run_command, say

COMMANDS = {
    "run": "meta-train and test a few-shot learner",
    "optimize": "meta-train and test an optimizer of network weights, or a hand-designed one",
    "pretrain": "pre-train or import a backbone, which SIB and nearest centroids learn from",
    "sweep": "choose options on validation, and judge what was chosen on fresh seeds and test problems",
    "paper": "make a table or figure of the paper by name",
    "report": "tables, figures and a page of all records",
    "speed": "how fast it is here",
}


def main(_: object = None) -> None:
    """List the commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  python -m benchmarks.{name:{width}}  {what}" for name, what in COMMANDS.items()]
    say("\n".join(["Commands (each has --help):", *lines]))


if __name__ == "__main__":
    run_command(main)
