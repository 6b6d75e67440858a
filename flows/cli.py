"""The command line: each command builds one call. Nothing heavy is imported before a command needs it.

Results go to stdout, talk to stderr. Exit codes: 0 passed or warned, 1 failed, 2 could not be done, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from foretaste.errors import ForetasteError, Refused
from foretaste.flows.commands.attest import attest, keygen, verify
from foretaste.flows.commands.audit import audit
from foretaste.flows.commands.components import detectors, embedders
from foretaste.flows.commands.diff import diff, manifest
from foretaste.flows.commands.drill import drill
from foretaste.flows.commands.export import export
from foretaste.flows.commands.gate import gate
from foretaste.flows.commands.handover import handover
from foretaste.flows.commands.output import EXIT_CODES, print_text
from foretaste.flows.commands.review import review
from foretaste.flows.commands.schedule import schedule
from foretaste.flows.commands.show import show
from foretaste.report.visible import visible

app = typer.Typer(
    name="foretaste",
    help="Taste the training data before the model does.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=EXIT_CODES)(audit)
app.command(epilog="Exit code 0 whatever the verdict. 2: there is no such audit.")(show)
app.command(epilog="Exit code 0: ended. 2: it could not be done.")(review)
app.command(epilog="Exit code 0: written. 2: it could not be done, and nothing was written.")(export)
app.command(epilog="Exit code 0: written. 2: it could not be done, and nothing was written.")(handover)
app.command(epilog="Exit code 0: done, whatever was found. 2: it could not be done.")(drill)
app.command(epilog="Exit code 0: the same rows in the same order. 1: other rows. 2: it could not be done.")(diff)
app.command(epilog="Exit code 0: written. 2: it could not be done, and nothing was written.")(manifest)
app.command(epilog="Exit code 0: allowed. 1: refused, with the reasons. 2: something cannot be read.")(gate)
app.command(epilog="Exit code 0: signed, and these bytes. 1: not so. 2: something cannot be read.")(verify)
app.command(epilog="Exit code 0: signed. 2: it could not be done.")(attest)
app.command(epilog="Exit code 0: written. 2: there is a key already, or it cannot be written.")(keygen)
app.command(epilog="Exit code 0: stopped. 2: it could not be done.")(schedule)
app.command()(detectors)
app.command()(embedders)


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
    """Run a command; whatever goes wrong becomes one sentence and an exit code."""
    # Idle threads sleep instead of spinning: beside other work on the same cores that is up to ten times faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(list(sys.argv[1:] if argv is None else argv), prog_name="foretaste", standalone_mode=False)
        if code == 130:  # typer's word for Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", 130)
    except Refused as error:
        return _complain(str(error), 1)
    except ForetasteError as error:
        return _complain(str(error), 2)
    except Exception as error:
        explain = getattr(error, "show", None)
        if callable(explain) and hasattr(error, "exit_code"):  # typer's word for a bad call
            explain()
            return 2
        if os.environ.get("FORETASTE_DEBUG"):
            traceback.print_exc()
        sentence = f"{type(error).__name__}: {error}".splitlines()[0]
        return _complain(f"{sentence} (run with FORETASTE_DEBUG=1 for the traceback)", 2)


def _complain(sentence: str, code: int) -> int:
    print(f"foretaste: {visible(' '.join(sentence.split()))}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
