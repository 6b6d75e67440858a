"""States of a pass over the data: moving them between devices, and converting them to named tensors and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from foretaste.detectors.contract import State
from foretaste.types.runs import Outcome


def moved(state: Any, device: torch.device) -> Any:
    """A state with all its tensors on `device`."""
    if isinstance(state, Tensor):
        return state.to(device)
    if is_dataclass(state) and not isinstance(state, (type, Outcome)):
        return type(state)(**{field.name: moved(getattr(state, field.name), device) for field in fields(state)})
    return state


def tensors(state: State, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a state by dotted name, for safetensors."""
    if isinstance(state, Tensor):
        return {prefix: state.contiguous()}
    found: dict[str, Tensor] = {}
    for field in fields(state):
        found |= tensors(getattr(state, field.name), f"{prefix}.{field.name}" if prefix else field.name)
    return found


def restored(like: State, saved: Mapping[str, Tensor], prefix: str = "") -> State:
    """A state of the type of `like` from the result of `tensors`: restored(s, tensors(s)) == s."""
    if isinstance(like, Tensor):
        return saved[prefix]
    values = {
        field.name: restored(getattr(like, field.name), saved, f"{prefix}.{field.name}" if prefix else field.name)
        for field in fields(like)
    }
    return type(like)(**values)
