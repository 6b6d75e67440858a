"""The command line. Nothing heavy is imported before a command needs it.

Results go to stdout, messages to stderr. Exit codes: 0 passed or warned, 1 failed, 2 error, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from foretaste.errors import ForetasteError, Refused
from foretaste.flows.commands.contract import ordered
from foretaste.flows.commands.output import print_text, settle_streams
from foretaste.flows.termination import terminable
from foretaste.report.visible import visible

app = typer.Typer(
    name="foretaste",
    help="Taste the training data before the model does.",
    epilog="Exit code 0: passed or warned. 1: failed. 2: it could not be done.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for found in ordered():
    app.command(rich_help_panel=found.part, epilog=f"Exit code {found.exits}")(found.call)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print_text(f"foretaste {version('foretaste')}\n")
        except PackageNotFoundError:  # run from a checkout
            print_text("foretaste (not installed)\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; every error becomes one sentence on stderr and an exit code."""
    # Idle OpenMP threads sleep instead of spinning: up to ten times faster if other processes use the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settle_streams()
    with terminable():
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(argv: list[str]) -> int:
    try:
        code = app(argv, prog_name="foretaste", standalone_mode=False)
        if code == 130:  # typer's exit code for Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", 130)
    except Refused as error:
        return _complain(str(error), 1)
    except Exception as error:
        explain = getattr(error, "show", None)
        if callable(explain) and hasattr(error, "exit_code"):  # typer's usage error
            explain()
            return 2
        if os.environ.get("FORETASTE_DEBUG") and not isinstance(error, ForetasteError):
            traceback.print_exc()
        return _complain(_sentence(error), 2)


def _sentence(error: Exception) -> str:
    if isinstance(error, ForetasteError):
        return str(error)
    if isinstance(error, MemoryError):
        return "the memory of this machine does not suffice"
    if isinstance(error, OSError) and error.strerror:  # of the surroundings, not of this program
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    return f"{first} (run with FORETASTE_DEBUG=1 for the traceback)"


def _complain(sentence: str, code: int) -> int:
    print(f"foretaste: {visible(' '.join(sentence.split()))}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
