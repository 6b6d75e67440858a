"""The command line: each command builds one call. Nothing heavy is imported before a command needs it.

Results go to stdout, talk to stderr. Exit codes: 0 passed or warned, 1 failed, 2 could not be done, 130 interrupted.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from auditors.errors import ForetasteError, PlanError
from auditors.report.glyphs import visible
from auditors.values import Kind

EXIT_CODES = "Exit code 0: passed or warned. 1: failed. 2: it could not be done."

app = typer.Typer(
    name="foretaste",
    help="Taste the training data before the model does.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class EngineName(StrEnum):
    AUTO = "auto"
    LOCAL = "local"
    THREADS = "threads"
    DASK = "dask"
    RAY = "ray"


def _column(help: str, *names: str, metavar: str = "COLUMN") -> Any:  # noqa: A002
    return typer.Option(*names, metavar=metavar, rich_help_panel="Columns", help=help)


@app.command(epilog=EXIT_CODES)
def audit(  # noqa: PLR0917
    dataset: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Parquet files, folders, globs or URLs.")],
    plan: Annotated[
        str | None, typer.Option(metavar="FILE", help="audit.toml; by default the plan follows the data.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder to create; by default audits/NAME-TIME.")
    ] = None,
    id_: Annotated[str | None, _column("Names each row in the findings.", "--id")] = None,
    label: Annotated[str | None, _column('The class of each row; "" for none.')] = None,
    source: Annotated[str | None, _column("Where each row came from.")] = None,
    image: Annotated[str | None, _column("The rows are pictures.")] = None,
    text: Annotated[str | None, _column("The rows are texts.")] = None,
    messages: Annotated[str | None, _column("The rows are conversations.")] = None,
    prompt: Annotated[str | None, _column("The rows are prompts …")] = None,
    response: Annotated[str | None, _column("… and their responses.")] = None,
    embedding: Annotated[str | None, _column("The rows are vectors.")] = None,
    features: Annotated[str | None, _column("The rows are table features.", metavar="A,B,C")] = None,
    device: Annotated[Device, typer.Option(help="Where to compute; auto takes a GPU if there is one.")] = Device.AUTO,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="local: in this process. threads, dask, ray: as a Prefect flow, which adds retries, a record of each "
            "shard on Prefect's timeline and, with dask or ray, a cluster. auto: threads where PREFECT_API_URL is set, "
            "local elsewhere."
        ),
    ] = EngineName.AUTO,
    seed: Annotated[int, typer.Option(help="The same data, plan and seed give the same result.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print report.json instead of a table.")] = False,
) -> int:
    """Audit a training dataset for poison and write a report."""
    from auditors.report.document import read
    from auditors.report.rows import flagged
    from auditors.roles import Request
    from flows.progress import progress

    columns = tuple(name.strip() for name in features.split(",") if name.strip()) if features else ()
    request = Request(image, text, messages, prompt, response, embedding, columns, label, id_, source)
    folder = out or f"audits/{_name(dataset[0])}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if engine is EngineName.AUTO:
        engine = EngineName.THREADS if os.environ.get("PREFECT_API_URL") else EngineName.LOCAL
    with progress() as watch:
        if engine is EngineName.LOCAL:
            from auditors.auditing import audit as run_here

            report = run_here(
                dataset, request=request, plan=plan, out=folder, device=device.value, seed=seed, progress=watch
            )
            folder = report.folder
        else:
            from flows import environment

            environment.settle()
            from flows.audit import run

            result = run(
                dataset,
                request=request,
                plan=plan,
                out=folder,
                device=device.value,
                seed=seed,
                engine=engine.value,
                progress=watch,
            )
            folder = result["folder"]
    found = read(folder)
    _print_report(found, folder, rows=() if json else flagged(folder, top=40), as_json=json)
    return 1 if found["verdict"] == "failed" else 0


@app.command(epilog="Exit code 0 whatever the verdict. 2: there is no such audit.")
def show(  # noqa: PLR0917
    folder: Annotated[str, typer.Argument(metavar="AUDIT", help="The folder of an audit.")],
    top: Annotated[int | None, typer.Option(min=0, help="How many rows; by default 20 in a table, else all.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only rows and groups of this kind.")] = None,
    json: Annotated[bool, typer.Option("--json", help="report.json, with the flagged rows as `samples`.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="The flagged rows as CSV.")] = False,
    junit: Annotated[bool, typer.Option("--junit", help="JUnit XML, for CI systems.")] = False,
) -> int:
    """Show the result of an audit and its most suspicious rows."""
    from auditors.report.document import read
    from auditors.report.rows import flagged

    if json + csv + junit > 1:
        raise PlanError("one of --json, --csv and --junit can be chosen, got more")
    found = read(folder)
    if junit:
        from auditors.report.junit import junit as as_junit

        _print(as_junit(found))
        return 0
    rows = flagged(folder, top=20 if top is None and not (json or csv) else top, kind=kind)
    if csv:
        from auditors.report.sheet import sheet

        _print(sheet(rows))
    elif json:
        _print_report({**found, "samples": rows}, folder, rows=(), as_json=True)
    else:
        groups = [group for group in found["groups"] if kind is None or group["kind"] == kind]
        _print_report({**found, "groups": groups}, folder, rows=rows, as_json=False)
    return 0


@app.command()
def detectors(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None) -> int:
    """List what can be looked for, or explain one detector."""
    from auditors import contract

    contract.discover()
    return _describe("detector", contract.DETECTORS, name)


@app.command()
def embedders(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None) -> int:
    """List how rows become vectors, or explain one embedder."""
    from auditors import contract

    contract.discover()
    return _describe("embedder", contract.EMBEDDERS, name)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            _print(f"foretaste {version('foretaste')}\n")
        except PackageNotFoundError:  # run from a checkout
            _print("foretaste (not installed)\n")
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
    # Before torch is imported. Its threads wait by spinning, which made an audit 13 times slower on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Idle threads sleep instead of spinning: beside other work on the same cores that is up to ten times faster.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = app(list(sys.argv[1:] if argv is None else argv), prog_name="foretaste", standalone_mode=False)
        if code == 130:  # typer's word for Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", 130)
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


def _print(text: str) -> None:
    """To stdout, whole; a reader that has seen enough (head) is no failure and changes no exit code."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_report(found: Mapping[str, Any], folder: str, *, rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        from auditors.report.document import plain, text

        _print(text(plain(found)) + "\n")
        return
    import shutil

    from auditors.report.terminal import terminal

    people = sys.stdout.isatty()
    width = min(shutil.get_terminal_size().columns, 160) if people else 120
    _print(terminal(found, folder, rows=rows, width=width, colour=people and not os.environ.get("NO_COLOR")))


def _describe(what: str, registry: Mapping[str, type], name: str | None) -> int:
    """Every component with the first line of its docstring, or one with all of it and its settings."""
    import difflib
    from dataclasses import MISSING, fields
    from inspect import cleandoc

    if name is None:
        width = max(map(len, registry), default=0)
        _print("".join(f"{key:<{width}}  {_first_line(registry[key])}\n" for key in sorted(registry)))
        return 0
    if name not in registry:
        near = difflib.get_close_matches(name, registry, n=1)
        others = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(registry)) or 'none'}"
        raise PlanError(f"there is no {what} {name!r}; {others}")
    lines = [name, "", cleandoc(registry[name].__doc__ or ""), ""]
    for attribute in ("family", "kind", "modalities"):
        value = getattr(registry[name], attribute, None)
        if value is not None:
            lines.append(f"{attribute}: {', '.join(sorted(value)) if isinstance(value, frozenset) else value}")
    settings = [field for field in fields(registry[name]) if field.init]
    if settings:
        lines += ["", f"[{what}s.{name}]"]
        for field in settings:
            default = field.default_factory() if field.default_factory is not MISSING else field.default
            lines.append(f"{field.name} = {'(must be given)' if default is MISSING else _toml(default)}")
    _print("\n".join(lines) + "\n")
    return 0


def _first_line(component: type) -> str:
    return (component.__doc__ or "").strip().partition("\n")[0]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list, frozenset)):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) or value is None else str(value)


def _name(place: str) -> str:
    """What to call an audit of this place: the last part of it that is a name."""
    local = str(Path(place).absolute()) if "://" not in place else place.partition("://")[2]
    parts = [part for part in re.split(r"[/\\]+", local) if part.strip(".") and not re.search(r"[*?\[\]]", part)]
    name = re.sub(r"[^\w.]+", "-", parts[-1].removesuffix(".parquet")).strip("-.") if parts else ""
    return name[:80] or "dataset"


if __name__ == "__main__":
    sys.exit(main())
