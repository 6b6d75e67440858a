"""Poisoned copies of any picture dataset in Parquet, with the truth beside them.

python -m benchmarks.images.plant SOURCE OUT --attack badnets --count 100 --rows 10000 --target 3 --seed 1

writes OUT.parquet and OUT.truth.parquet (row, is_poisoned, is_cover, original_label). Every row goes through one
encoder, changed or not, so that the format tells nothing; `--count 0` makes the clean copy to compare with. `--attack`
takes an attack or one of CASES, attacks with settings that benchmarks refer to by name.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import typer
from PIL import Image
from torch import Tensor

from foretaste.attacks.contract import ATTACKS, Attack, Poisoned
from foretaste.attacks.image import low_frequency
from foretaste.errors import DataError, ForetasteError, PlanError
from foretaste.types.dataset import Modality

SIDE = 32  # pixels, where nothing else is said

ATTACKS.scan()


def smooth(size: int) -> Tensor:
    """A picture of a few low cosines, [3, size, size] uint8 from black to white: to blend in instead of noise."""
    generator = torch.Generator().manual_seed(0)
    waves = low_frequency.pattern(size, size, amplitude=1, frequencies=4, generator=generator)
    low, high = waves.aminmax()
    return (255 * (waves - low) / (high - low)).round().to(torch.uint8)


@dataclass(frozen=True)
class Case:
    """An attack with settings.

    attack    one of ATTACKS
    settings  what `plant` is told; `trigger` is told the same, except those in PLANTING
    at_test   what `trigger` is told beyond that, where a paper uses a stronger one after training
    targeted  False: all-to-all or random flips, whatever the target
    source    for flips between two classes: rows of the class so many after the target, in a circle
    """

    attack: str
    settings: dict[str, Any] = field(default_factory=dict)
    at_test: dict[str, Any] = field(default_factory=dict)
    targeted: bool = True
    source: int | None = None


CASES: dict[str, Case] = {
    "badnets": Case("badnets"),
    "badnets-5px-topleft-red": Case("badnets", {"size": 5, "place": "top-left", "pattern": (255, 0, 0)}),
    "badnets-1px": Case("badnets", {"size": 1, "margin": 0}),
    "badnets-random": Case("badnets", {"place": "random"}),
    "badnets-anywhere": Case("badnets", {"place": "anywhere"}),
    "all-to-all": Case("badnets", targeted=False),
    "blended": Case("blended"),
    "blended-0.15": Case("blended", {"weight": 0.15}),
    "blended-0.1": Case("blended", {"weight": 0.1}),
    "blended-smooth": Case("blended", {"pattern": smooth(SIDE)}),
    "low_frequency": Case("low-frequency"),
    "wanet": Case("wanet"),
    "wanet-no-covers": Case("wanet", {"covers": 0}),
    "adap_blend": Case("adap-blend"),
    "adap_patch": Case("adap-patch"),
    "frequency-dirty": Case("frequency", {"clean_label": False}, {"magnitude": 100.0}),
    "frequency": Case("frequency", {}, {"magnitude": 100.0}),
    "sig": Case("sig"),
    "label_consistent": Case("label-consistent"),
    "label_consistent-32": Case("label-consistent", {"amplitude": 32.0}),
    "narcissus": Case("narcissus", {}, {"strength": 3.0}),
    "label_flip": Case("label-flip"),
    "flips-pair": Case("label-flip", source=1),
    "flips-any": Case("label-flip", targeted=False),
}
CLEAN_LABEL = frozenset({"frequency", "sig", "label_consistent", "label_consistent-32", "narcissus"})
PLANTING = frozenset({"clean_label", "covers", "masked", "pieces", "tau"})  # settings that no trigger has

ENCODERS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},  # loses nothing
    "jpeg75": {"format": "JPEG", "quality": 75},
    "jpeg95": {"format": "JPEG", "quality": 95},
}


class Pictures(NamedTuple):
    """Rows of a picture dataset.

    images   [N, 3, S, S] uint8 RGB
    label    [N] int64, class index
    classes  class names in label order
    id       [N] the source's id column, or its row numbers
    """

    images: Tensor
    label: Tensor
    classes: tuple[str, ...]
    id: pa.Array


def load(
    path: str | Path,
    *,
    rows: int | None = None,
    seed: int = 0,
    size: int = SIDE,
    image: str = "image",
    label: str = "label",
) -> Pictures:
    """Read a Parquet file; `rows` of it, drawn by `seed` and kept in their order, as pictures of `size` pixels.

    The image column holds encoded files, plain or in a Hugging Face struct {bytes, path}.

    Raises DataError where a column is missing or a label is, PlanError where there are fewer than `rows`.
    """
    table = pq.read_table(path)
    for name in (image, label):
        if name not in table.column_names:
            raise DataError(f"{path} has no column {name!r}, only {', '.join(table.column_names)}")
    if table[label].null_count:
        raise DataError(f"{path}: {table[label].null_count} of {len(table)} rows have no {label!r}")
    identity = table["id"] if "id" in table.column_names else pa.array(np.arange(len(table)))
    classes = class_names(table, label)
    if rows is not None and not 0 < rows <= len(table):
        raise PlanError(f"cannot take {rows} rows of {path}: it has {len(table)}")
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:rows].sort().values.numpy()
    encoded, named = table[image].take(order), table[label].take(order)
    if pa.types.is_struct(encoded.type):
        encoded = pc.struct_field(encoded, "bytes")
    if not pa.types.is_integer(named.type):
        named = pc.index_in(named, value_set=pa.array(classes, named.type))
    images = torch.from_numpy(np.stack([decode(one, size) for one in encoded.to_pylist()]))  # [N, S, S, 3]
    index = torch.from_numpy(named.to_numpy().astype(np.int64))
    return Pictures(images.permute(0, 3, 1, 2).contiguous(), index, classes, identity.take(order))


def class_names(table: pa.Table, label: str) -> tuple[str, ...]:
    """From the Hugging Face metadata if it is there, else from the labels themselves."""
    described = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    names = described.get("info", {}).get("features", {}).get(label, {}).get("names")
    if names:
        return tuple(names)
    present = sorted(pc.unique(table[label]).to_pylist())
    if pa.types.is_integer(table[label].type):
        return tuple(str(index) for index in range(present[-1] + 1))
    return tuple(present)


def plant(
    pictures: Pictures, attack: str, *, target: int | None, count: int, seed: int, **settings: Any
) -> Poisoned[Tensor]:
    """Run one of CASES or of ATTACKS; `settings` of its own come on top.

    Raises PlanError for an attack that does not exist, cannot do without a target or lacks rows.
    """
    case = find(attack)
    target = target if case.targeted else None
    if target is None and not ATTACKS[case.attack].untargeted:
        without = sorted(name for name, one in ATTACKS.items() if one.untargeted)
        raise PlanError(f"{attack} needs a target; only {' and '.join(without)} do without")
    chosen = case.settings | settings
    if case.source is not None:
        if target is None:
            raise PlanError(f"{attack} needs a target")
        chosen.setdefault("source", (target + case.source) % len(pictures.classes))
    return ATTACKS[case.attack].plant(pictures.images, pictures.label, target=target, count=count, seed=seed, **chosen)


def trigger(images: Tensor, attack: str, pictures: Pictures, *, target: int, seed: int) -> Tensor:
    """A copy of `images` [B, 3, S, S] uint8 with the trigger that `plant` plants in `pictures`, as strong as at the
    paper's test time: what a model trained on the planted rows takes for `target` (or, all-to-all, for the class after
    its own) where the attack succeeds.

    Raises PlanError for an attack that does not exist or has no trigger.
    """
    case = find(attack)
    one = ATTACKS[case.attack]
    if one.trigger is None:
        raise PlanError(f"{attack} has no trigger")
    if one.learn is not None:
        learned = one.learn(pictures.images, pictures.label, target=target, seed=seed, **case.settings)
        return one.trigger(images, seed=seed, **learned, **case.at_test)
    chosen = {name: value for name, value in case.settings.items() if name not in PLANTING}
    return one.trigger(images, seed=seed, **chosen | case.at_test)


def pictured() -> dict[str, Attack]:
    """The attacks that can be planted in labelled pictures, by name."""
    return {name: one for name, one in ATTACKS.items() if one.modality in (Modality.IMAGE, None)}


def find(attack: str) -> Case:
    """The case of that name, or the attack as it is.

    Raises PlanError where there is neither.
    """
    if attack in CASES:
        return CASES[attack]
    if attack not in pictured():
        raise PlanError(f"there is no attack {attack!r}, only {', '.join(sorted({*pictured(), *CASES}))}")
    return Case(attack)


def write(
    planted: Poisoned[Tensor],
    source: Pictures,
    out: str | Path,
    *,
    row_group_size: int = 1000,
    encoder: str = "png",
) -> Path:
    """Write `out`.parquet, every row through one of ENCODERS, and `out`.truth.parquet; the path of the first.

    Raises PlanError for an encoder that does not exist.
    """
    if encoder not in ENCODERS:
        raise PlanError(f"there is no encoder {encoder!r}, only {', '.join(ENCODERS)}")
    stem = str(out).removesuffix(".parquet")
    features = {
        "id": {"dtype": str(source.id.type), "_type": "Value"},
        "image": {"_type": "Image"},
        "label": {"names": list(source.classes), "_type": "ClassLabel"},
    }
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pixels = planted.payload.permute(0, 2, 3, 1).numpy()
    table = pa.table(
        {
            "id": source.id,
            "image": pa.array([{"bytes": encode(one, encoder), "path": None} for one in pixels], struct),
            "label": planted.label.numpy(),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    truth = {
        "row": np.arange(len(table)),
        "is_poisoned": planted.poisoned.numpy(),
        "is_cover": planted.cover.numpy(),
        "original_label": source.label.numpy(),
    }
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, f"{stem}.parquet", row_group_size=row_group_size)
    pq.write_table(pa.table(truth), f"{stem}.truth.parquet")
    return Path(f"{stem}.parquet")


def decode(data: bytes, size: int) -> np.ndarray:
    """An encoded picture as [size, size, 3] uint8 RGB."""
    with Image.open(io.BytesIO(data)) as picture:
        rgb = picture.convert("RGB")
    return np.asarray(rgb if rgb.size == (size, size) else rgb.resize((size, size), Image.Resampling.BILINEAR))


def encode(pixels: np.ndarray, encoder: str) -> bytes:
    """[S, S, 3] uint8 as one of ENCODERS writes it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, **ENCODERS[encoder])
    return file.getvalue()


def setting(text: str) -> tuple[str, Any]:
    """`name=value`, where the value is JSON or else a word: weight=0.1, pattern=[255,0,0], place=random."""
    name, equals, value = text.partition("=")
    if not equals:
        raise PlanError(f"a setting is written name=value, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main(
    source: Path,
    out: Path,
    *,
    attack: Annotated[str, typer.Option(help=", ".join(sorted({*pictured(), *CASES})))],
    count: Annotated[int, typer.Option(help="Rows to poison; 0 writes a clean copy.")],
    target: Annotated[int | None, typer.Option(help="Class index; without one: all-to-all or random flips.")] = None,
    rows: Annotated[int | None, typer.Option(help="Take only so many rows of the source.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which rows are taken and changed, and the trigger.")] = 0,
    size: Annotated[int, typer.Option(help="Pixels along each side.")] = SIDE,
    pattern: Annotated[Path | None, typer.Option(help="A picture to blend in (blended, adap_blend).")] = None,
    encoder: Annotated[str, typer.Option(help=", ".join(ENCODERS))] = "png",
    setting_: Annotated[list[str] | None, typer.Option("--set", help="Of the attack, name=value; repeatable.")] = None,
) -> None:
    """Plant one attack in a copy of SOURCE: OUT.parquet and OUT.truth.parquet."""
    try:
        settings = dict(setting(one) for one in setting_ or ())
        if pattern is not None:
            settings["pattern"] = torch.from_numpy(decode(pattern.read_bytes(), size).copy()).permute(2, 0, 1)
        pictures = load(source, rows=rows, seed=seed, size=size)
        planted = plant(pictures, attack, target=target, count=count, seed=seed, **settings)
        written = write(planted, pictures, out, encoder=encoder)
    except (ForetasteError, ValueError, TypeError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"{written}: {attack} in {int(planted.poisoned.sum())} of {len(planted.label)} rows", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
