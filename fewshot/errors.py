"""The one exception that means "your input, not our bug"."""


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line that names the offending value, what is valid, and the remedy. Commands print it without
    a traceback and exit with status 2 (see `fewshot.console.run_command`).
    """


def one_of(what: str, value: str, valid) -> None:
    """Refuse `value` unless it is among `valid`.

    Raises:
        InputError: naming the value and every valid choice.
    """
    if value not in valid:
        raise InputError(f"unknown {what} {value!r}; choose one of: {', '.join(map(str, valid))}")
