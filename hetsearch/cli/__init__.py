"""The command line: one file a command, no logic."""

from __future__ import annotations

import sys

from cyclopts import App

import hetsearch
from hetsearch.cli.console import say
from hetsearch.errors import HetsearchError

app = App(
    name="hetsearch",
    help="Visual search with two networks in one space: a large gallery encoder and a tiny query encoder.",
    version=hetsearch.__version__,
)
app.command("hetsearch.cli.data:app", name="data")
app.command("hetsearch.cli.train:app", name="train")


def main(arguments: list[str] | None = None) -> None:
    """Run a command and leave with its exit code; a user's mistake is a message, never a traceback."""
    try:
        code = app(arguments, exit_on_error=True, result_action="return_value")
    except HetsearchError as error:
        say(f"hetsearch: error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say("hetsearch: interrupted. The same command resumes a training or starts a job again.")
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
