"""Write the pages that are made from the sources: docs/api.md and docs/thresholds.md.

python docs/make.py           write them
python docs/make.py --check   exit with 1 where one is not what it would be
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import foretaste
from foretaste.decide.settings import Decide
from foretaste.detectors.contract import DETECTORS
from foretaste.embedders.contract import EMBEDDERS
from foretaste.gate.facts import Facts
from foretaste.gate.require import Attested
from foretaste.pipeline.drill import Power, Trial
from foretaste.settings import declared

HERE = Path(__file__).parent
SENSITIVITY = HERE / "sensitivity.jsonl"
ORDER = (
    *("audit", "require", "verify", "drill", "export"),
    *("Request", "Plan", "Policy", "Report", "Finding", "Kind", "Verdict"),
)


def api() -> str:
    """docs/api.md: every public name with its signature and docstring."""
    assert set(ORDER) | {"errors", "testing", "__version__"} == set(foretaste.__all__)
    lines = [
        "# Public names",
        "",
        "Made from the docstrings by `python docs/make.py`. `import foretaste` loads nothing heavy: each name is",
        "imported when it is first asked for. `foretaste.__version__` is the installed release.",
        "",
    ]
    for name in ORDER:
        lines += _component(name, getattr(foretaste, name))
    for component in (Attested, Facts, Power, Trial):
        lines += _component(component.__name__, component)
    lines += ["## errors", "", "```text", inspect.getdoc(foretaste.errors) or "", "```", ""]
    lines += ["## testing", "", *_prose(inspect.getdoc(foretaste.testing) or "")]
    for name in foretaste.testing.__all__:
        component = getattr(foretaste.testing, name)
        if isinstance(component, Mapping):
            checks = ", ".join(f"`{check}`" for check in component)
            lines += [f"### testing.{name}", "", f"{len(component)} checks by name: {checks}.", ""]
        elif callable(component):
            lines += _component(f"testing.{name}", component, level=3)
    return "\n".join(lines).rstrip() + "\n"


def _component(name: str, component: Any, level: int = 2) -> Iterator[str]:
    yield from (f"{'#' * level} {name}", "")
    if inspect.isfunction(component):
        yield from ("```python", _signature(name, component), "```", "")
    elif inspect.isclass(component) and issubclass(component, Enum):
        yield from (" · ".join(f"`{one.value}`" for one in component), "")
    yield from _prose(inspect.getdoc(component) or "")
    if is_dataclass(component):
        fields = set(component.__dataclass_fields__)
        for called, method in vars(component).items():
            if inspect.isfunction(method) and not called.startswith("_") and called not in fields:
                yield from ("```python", _signature(called, method), "```", "")
                yield from _prose(inspect.getdoc(method) or "")


def _signature(name: str, function: Any) -> str:
    found = inspect.signature(function)
    parts, star = [], False
    for one in found.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        mark = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        said = "" if one.annotation is one.empty else f": {one.annotation}"
        default = "" if one.default is one.empty else f" = {_default(one.default, function)}"
        parts.append(f"{mark}{one.name}{said}{default}")
    whole = f"{name}({', '.join(parts)}) -> {found.return_annotation}"
    if len(whole) <= 100:
        return whole
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f") -> {found.return_annotation}"])


def _default(value: Any, function: Any) -> str:
    """A default as its author wrote it: a literal, or the name of a constant."""
    if value is None or isinstance(value, (str, int, float)):
        return repr(value)
    names = [name for name, known in function.__globals__.items() if known is value]
    return names[0] if names else repr(value)


def _prose(docstring: str) -> Iterator[str]:
    """A docstring as Markdown: lines "name  meaning" become a table, indented examples blocks of code."""
    for block in re.split(r"\n\s*\n", docstring):
        lines = block.splitlines()
        if all(line.startswith("    ") for line in lines):
            yield from ("```python", *(line[4:] for line in lines), "```", "")
        elif re.match(r"[\w, ]*\w {2,}\S", lines[0]) or (len(lines) > 1 and re.match(r"\w+ {2,}\S", lines[1])):
            rows: list[list[str]] = []
            for line in lines:
                found = re.match(r"(\w+(?:, \w+)*) +(\S.*)", line)
                if found and not line.startswith(" "):
                    rows.append([found[1], found[2]])
                else:
                    rows[-1][1] += f" {line.strip()}"
            yield from (
                "| | |",
                "|---|---|",
                *(f"| `{name}` | {said.replace('|', chr(92) + '|')} |" for name, said in rows),
                "",
            )
        else:
            yield from (*lines, "")


def thresholds() -> str:
    """docs/thresholds.md: every number that decides, where it came from, and what a quarter more or less of it does."""
    measured = [json.loads(line) for line in SENSITIVITY.read_text(encoding="utf-8").splitlines()]
    as_is = {line["dataset"]: line for line in measured if not line["table"]}
    components = [
        ("decide", Decide),
        *((f"detectors.{name}", cls) for name, cls in sorted(DETECTORS.scan().items())),
        *((f"embedders.{name}", cls) for name, cls in sorted(EMBEDDERS.scan().items())),
    ]
    tables = {table: [one for one in declared(cls) if one.source] for table, cls in components}
    names = {(table, one.name) for table, found in tables.items() for one in found}
    moved = [line for line in measured if (line["table"], line["setting"]) in names]  # settings that still exist
    changing = {(line["table"], line["setting"]) for name in names for line in _effects(moved, as_is, *name)}
    tried = {(line["table"], line["setting"]) for line in moved}
    audits = [line for line in moved if line["verdict"] != "refused"]
    flips = [line for line in audits if line["verdict"] != as_is[line["dataset"]]["verdict"]]
    lines = [
        "# Thresholds",
        "",
        "Made from the settings by `python docs/make.py`, and from what `python -m benchmarks.sensitivity` measured.",
        "",
        f"{len(names)} numbers decide who is accused. Each is a setting of a detector, an embedder or `[decide]`:",
        "plans can set it, and it enters the plan's digest. Each was moved by a quarter down and up (a share above one",
        f"half by a quarter of its distance from 1) on {len(as_is)} small datasets, one at a time:",
        "",
        "| dataset | rows | poisoned | verdict | poisoned rows flagged | other rows flagged |",
        "|---|---:|---:|---|---:|---:|",
        *(
            f"| {name} | {one['rows']} | {one['poisoned']} | {one['verdict']} | {one['found']} | {one['accused']} |"
            for name, one in as_is.items()
        ),
        "",
        f"{len(tried - changing)} of the {len(tried)} moved change nothing on any of these. **What changes a verdict**",
        f"({len(flips)} of {len(audits)} audits):",
        "",
        "| setting | value | dataset | verdict | poisoned rows flagged | other rows flagged |",
        "|---|---:|---|---|---:|---:|",
        *(_flip(line, as_is[line["dataset"]]) for line in flips),
        "",
        "In the tables below, *less* and *more* say what became of all datasets together: poisoned rows flagged,",
        "other rows flagged, and verdicts changed; – is nothing.",
        "",
    ]
    for table, found in tables.items():
        if found:
            lines += [f"## {table}", "", "| setting | default | what it is | where it came from | less | more |"]
            lines += ["|---|---:|---|---|---|---|"]
            for one in found:
                less, more = (_summed(moved, as_is, table, one.name, below=below) for below in (True, False))
                cells = (f"`{one.name}`", _number(one.default), one.meaning, one.source, less, more)
                lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


Line = dict[str, Any]  # of benchmarks.sensitivity


def _effects(moved: list[Line], as_is: dict[str, Line], table: str, setting: str) -> list[Line]:
    """The audits with this setting moved that came to something else."""
    said = ("verdict", "found", "accused")
    return [
        line
        for line in moved
        if (line["table"], line["setting"]) == (table, setting)
        and [line[name] for name in said] != [as_is[line["dataset"]][name] for name in said]
    ]


def _summed(moved: list[Line], as_is: dict[str, Line], table: str, setting: str, *, below: bool) -> str:
    mine = [line for line in moved if (line["table"], line["setting"]) == (table, setting)]
    side = [line for line in mine if (line["factor"] < 1) == below]
    if not side:
        return "not measured"
    if all(line["verdict"] == "refused" for line in side):
        return "refused"
    found, accused = (sum(line[what] - as_is[line["dataset"]][what] for line in side) for what in ("found", "accused"))
    flips = sum(line["verdict"] != as_is[line["dataset"]]["verdict"] for line in side)
    changed = any(line in side for line in _effects(moved, as_is, table, setting))
    return f"{found:+d}, {accused:+d}{f', {flips} verdicts' if flips else ''}" if changed else "–"


def _flip(line: Line, before: Line) -> str:
    counts = (f"{before[what]} → {line[what]}" for what in ("found", "accused"))
    name = f"`{line['table']}` {line['setting']}"
    verdict = f"{before['verdict']} → {line['verdict']}"
    return f"| {' | '.join((name, str(line['value']), line['dataset'], verdict, *counts))} |"


def _number(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_number, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


PAGES = {"api.md": api, "thresholds.md": thresholds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = []
    for name, page in PAGES.items():
        path, text = HERE / name, page()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if stale:
        print(f"{'stale' if check else 'written'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
