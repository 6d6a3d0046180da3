"""The command line: one file a command, no logic."""

from __future__ import annotations

import errno
import io
import os
import sys

from cyclopts import App
from cyclopts.config import Env

import hetsearch
from hetsearch.cli.blend import blend
from hetsearch.cli.console import say
from hetsearch.cli.data import app as data
from hetsearch.cli.evaluate import evaluate
from hetsearch.cli.export import export
from hetsearch.cli.index import app as index
from hetsearch.cli.inspect import inspect
from hetsearch.cli.nas import app as nas
from hetsearch.cli.quickstart import quickstart
from hetsearch.cli.search import search
from hetsearch.cli.serve import serve
from hetsearch.cli.train import app as train
from hetsearch.errors import EXTRA_OF, HetsearchError, UsageError, require_extra

SHOWN = 100  # characters of a name that cannot be
app = App(
    name="hetsearch",
    help="Visual search with two networks in one space: a large gallery encoder and a tiny query encoder.",
    version=hetsearch.__version__,
    suppress_keyboard_interrupt=False,  # main() says what an interrupted job leaves
)
# In the order of the work. What a command needs is imported when it is called, so that --help answers at once.
COMMANDS = (quickstart, data, train, nas, export, blend, index, search, evaluate, inspect)
for _command in COMMANDS:
    app.command(_command)
app.command(serve, config=Env("HETSEARCH_", command=False))


def main(arguments: list[str] | None = None) -> None:
    """Run a command and leave with its exit code; a user's mistake is a message, never a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text at all
    try:
        code = app(arguments, exit_on_error=True, result_action="return_value")
    except HetsearchError as error:
        say(f"hetsearch: error: {error}")
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRA_OF:
            raise
        missing = require_extra(module, EXTRA_OF[module])
        say(f"hetsearch: error: {missing}")
        sys.exit(missing.exit_code)
    except BrokenPipeError:
        # Whoever read our output ('| head') has seen enough; Python would complain of it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except UnicodeEncodeError as error:
        # Text that is no Unicode comes from the words of a command and the names of files only.
        say(f"hetsearch: error: a name is not valid Unicode: {error.object[:error.end][-SHOWN:]!a}. Rename it.")
        sys.exit(UsageError.exit_code)
    except OSError as error:
        # The machine's no (permission, full disk), wherever it was met; a name that is too long is the user's.
        named = f"'{str(error.filename)[:SHOWN]}': " if error.filename else ""
        say(f"hetsearch: error: {named}{error.strerror or error}")
        sys.exit(UsageError.exit_code if error.errno == errno.ENAMETOOLONG else 1)
    except KeyboardInterrupt:
        say("hetsearch: interrupted. The same command goes on with a training or a job.")
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
