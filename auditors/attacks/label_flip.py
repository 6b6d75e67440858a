"""Label flips: wrong labels on unchanged rows.

Targeted: Tolpegin, Truex, Gursoy & Liu, "Data Poisoning Attacks Against Federated Learning Systems", ESORICS 2020,
arXiv:2007.08432. Random: Biggio, Nelson & Laskov, "Support Vector Machines Under Adversarial Label Noise", ACML 2011.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foretaste.attacks.contract import P, Poisoned, attack, choose, victims
from foretaste.errors import PlanError


@attack("label-flip", None, words="nothing but the label", untargeted=True)
def plant(
    payload: P,
    label: Tensor,
    *,
    target: int | None,
    count: int,
    seed: int,
    source: int | None = None,
) -> Poisoned[P]:
    """Relabel `count` rows to `target`, all of them from class `source` where one is given.

    `payload` is returned unchanged, `label` [N] int64. If `target` is None, each row gets a random other class.

    Raises PlanError where there are too few rows or classes.
    """
    generator = torch.Generator().manual_seed(seed)
    if source is not None and source == target:
        raise PlanError(f"source and target are both class {source}: no label would change")
    if source is not None:
        rows = choose(label == source, count, generator, of=f"rows of class {source}")
    elif target is not None:
        rows = victims(label, target=target, count=count, generator=generator)
    else:
        rows = choose(label >= 0, count, generator, of="labelled rows")
    flipped = others(label, rows, generator) if target is None else torch.full_like(rows, target)
    return Poisoned.at(payload, label.index_copy(0, rows, flipped), rows=rows)


def others(label: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
    """For each of `rows` [B] a uniformly random class other than its own, [B] int64."""
    classes = label[label >= 0].bincount().nonzero().flatten()  # [K], ascending
    if len(classes) < 2:
        raise PlanError("labels cannot be flipped at random: the dataset has fewer than two classes")
    own = torch.searchsorted(classes, label[rows])
    step = torch.randint(1, len(classes), (len(rows),), generator=generator)
    return classes[(own + step) % len(classes)]
