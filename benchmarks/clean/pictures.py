"""Make sets of pictures from public repositories, clean as they were published.

    python -m benchmarks.clean.pictures CHECKOUTS OUT [--only NAME]

`pictures.toml` lists the origins. `paths` of an origin is a regular expression that whole paths must match: its group
`label` is the class, and its groups whose names begin with `group` say together which pictures belong together (shot of
one object, in one video, by one hand ...). Where the path does not tell the class, a reader makes one that does.
Every row of a set goes through one decoder, one colour mode and one encoder, so the form of a file tells nothing.
Figures that differ from the list are reported, and the exit code is then 1.
"""

from __future__ import annotations

import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from benchmarks.clean.checkouts import GITHUB, committed, git
from benchmarks.clean.origins import draw, duplicates, run

Origin = Mapping[str, Any]
Places = dict[str, str | bytes]  # what the rule reads: the path in the commit, or the content itself
LIMIT = 4000  # rows of a set
FEWEST = 10  # pictures of a class that is kept
LONGEST = 256  # pixels of the longer side
HEAVIEST = 4 * 2**20  # bytes from which on a file is left out
BATCH = 500  # files that are held in memory


class Picture(NamedTuple):
    """A picture that the rule of an origin has found."""

    label: str
    group: str | None
    place: str | bytes


def archives(folder: Path, origin: Origin, _: Sequence[str]) -> Places:
    """The files inside ZIP archives, under the path of the archive."""
    places: Places = {}
    for path, data in committed(folder, origin["commit"], origin["archives"]):
        with ZipFile(io.BytesIO(data)) as archive:
            places |= {f"{path}/{name}": archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    return places


def arrays(folder: Path, origin: Origin, _: Sequence[str]) -> Places:
    """The pictures of an array of NumPy, named `label/row` after a second array."""
    (_, pictures), (_, labels) = committed(folder, origin["commit"], origin["arrays"])
    each = zip(np.load(io.BytesIO(pictures))["arr_0"], np.load(io.BytesIO(labels))["arr_0"], strict=True)
    return {f"{label}/{row}": saved(Image.fromarray(picture), "PNG") for row, (picture, label) in enumerate(each)}


def tables(folder: Path, origin: Origin, names: Sequence[str]) -> Places:
    """Pictures named `label/path` after the lines of text files, by a pattern for each file that gives the label."""
    places: Places = {}
    for (_, data), (form, pattern) in zip(
        committed(folder, origin["commit"], list(origin["tables"])), origin["tables"].values(), strict=True
    ):
        for line in data.decode().splitlines():
            if found := re.fullmatch(pattern, line):
                path = form.format(found["picture"])
                places[f"{found['label']}/{path}"] = path
    known = set(names)
    return {name: path for name, path in places.items() if path in known}


def masks(folder: Path, origin: Origin, names: Sequence[str]) -> Places:
    """Pictures named `kinds/path`, where kinds are those whose mask in the same folder marks anything."""
    marked: dict[str, list[str]] = {}
    paths = [name for name in names if re.fullmatch(origin["masks"], name)]
    for path, data in committed(folder, origin["commit"], paths):
        found = re.fullmatch(origin["masks"], path)
        if found and Image.open(io.BytesIO(data)).convert("L").getbbox():
            marked.setdefault(str(Path(path).parent), []).append(found["kind"].lower())
    return {f"{'_and_'.join(marked.get(str(Path(name).parent), ['sound']))}/{name}": name for name in names}


READERS: dict[str, Callable[[Path, Origin, Sequence[str]], Places]] = {
    function.__name__: function for function in (archives, arrays, tables, masks)
}


def listed(folder: Path, commit: str) -> list[str]:
    """Paths of the ordinary files of a commit that are at hand and not too heavy, in the order of their names."""
    names: list[str] = []
    for line in git(folder, "ls-tree", "-r", "-z", "-l", commit).decode("utf-8", "surrogateescape").split("\0")[:-1]:
        about, name = line.split("\t", 1)
        mode, _, _, size = about.split()
        if mode.startswith("100") and size.isdigit() and int(size) < HEAVIEST:
            names.append(name)
    return sorted(names)


def pictures(folder: Path, origin: Origin) -> list[Picture]:
    """The pictures of an origin in the order of their paths, of classes that are large enough."""
    names = listed(folder, origin["commit"])
    read = next((READERS[key] for key in origin if key in READERS), None)
    places = read(folder, origin, names) if read else {name: name for name in names}
    found: list[Picture] = []
    for name in sorted(places):
        if match := re.fullmatch(origin["paths"], name):
            groups = [text for key, text in match.groupdict().items() if key.startswith("group") and text]
            found.append(Picture(match["label"], " ".join(groups) or None, places[name]))
    sizes = Counter(picture.label for picture in found)
    return [picture for picture in found if sizes[picture.label] >= FEWEST]


def contents(folder: Path, commit: str, wanted: Sequence[Picture]) -> Iterator[tuple[Picture, bytes]]:
    """Pictures with their files, a batch of files at a time."""
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        read = dict(committed(folder, commit, [place for _, _, place in part if isinstance(place, str)]))
        for picture in part:
            yield picture, picture.place if isinstance(picture.place, bytes) else read[picture.place]


def decoded(data: bytes, mode: str) -> Image.Image | None:
    """A picture as it is meant to be seen, transparent parts white, None where the file holds none."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened)
    except OSError:
        return None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def saved(image: Image.Image, form: str) -> bytes:
    """A picture as a file of its pixels and nothing else, not larger than the sets allow."""
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    image.info = {}
    file = io.BytesIO()
    image.save(file, form, **({"quality": 92} if form == "JPEG" else {}))
    return file.getvalue()


def span(sizes: Sequence[tuple[int, int]]) -> str:
    """The one size of all pictures, or the smallest and the largest."""
    ends = (
        min(sizes, key=lambda size: (size[0] * size[1], size)),
        max(sizes, key=lambda size: (size[0] * size[1], size)),
    )
    return " to ".join(f"{wide}x{high}" for wide, high in dict.fromkeys(ends))


def contradictions(labels: Sequence[str], files: Sequence[bytes]) -> float:
    """The share of rows that equal a row with another label."""
    of: dict[bytes, set[str]] = {}
    for label, file in zip(labels, files, strict=True):
        of.setdefault(file, set()).add(label)
    return round(sum(len(of[file]) > 1 for file in files) / len(files), 4)


def make(checkouts: Path, out: Path, origin: Origin) -> dict[str, Any]:
    """Write the set of an origin and return its figures."""
    folder = checkouts / origin["source"].removeprefix(GITHUB).replace("/", "+")
    found = pictures(folder, origin)
    drawn = [found[row] for row in draw([picture.label for picture in found], LIMIT, origin["name"])]
    mode, form = "L" if origin.get("grey") else "RGB", "PNG" if origin.get("lossless") else "JPEG"
    rows: list[Picture] = []
    sizes: list[tuple[int, int]] = []
    files: list[bytes] = []
    for picture, data in contents(folder, origin["commit"], drawn):
        if image := decoded(data, mode):
            rows.append(picture)
            sizes.append(image.size)
            files.append(saved(image, form))
    labels = [picture.label for picture in rows]
    columns: dict[str, pa.Array] = {
        "id": pa.array(range(len(rows)), pa.int64()),
        "image": pa.StructArray.from_arrays(
            [pa.array(files, pa.binary()), pa.nulls(len(files), pa.string())], names=["bytes", "path"]
        ),
        "label": pa.array(labels, pa.string()),
    }
    if any(picture.group for picture in rows):
        columns["group"] = pa.array([picture.group for picture in rows], pa.string())
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), out / f"{origin['name']}.parquet", row_group_size=1000)
    return {
        "classes": len(set(labels)),
        "rows": len(rows),
        "native": span(sizes),
        "duplicates": duplicates(files),
        "contradictions": contradictions(labels, files),
    }


if __name__ == "__main__":
    title = "Make clean sets of pictures from public repositories."
    sys.exit(run(title, Path(__file__).with_suffix(".toml"), make))
