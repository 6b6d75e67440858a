"""Loading a user's network: safetensors weights with the module they belong to, or an exported program.

The file is trusted like code, since only a plan can name it: a module's factory is run, and PyTorch evaluates
expressions in exported programs. Pickled objects are refused in both kinds of file.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import Tensor, nn

from foretaste.errors import PlanError
from foretaste.registry import near

OBJECTS = ("custom_obj", "opaque_obj")  # members of a .pt2 archive that PyTorch always unpickles


@dataclass(frozen=True, eq=False)
class Network:
    """The network, loaded and in evaluation mode.

    shape   of a program's single input, in which a dynamic dimension is not an int; () where any shape is accepted
    sha256  of the file, and of the source file of the module's factory, "" where there is none
    """

    module: nn.Module
    shape: tuple[Any, ...]
    dtype: torch.dtype
    sha256: tuple[str, str]


def load(model: str, *, module: str, layer: str, device: torch.device) -> Network:
    """The network in the file `model`; an exported program is unflattened into submodules only for a `layer`.

    Raises PlanError where the file or the factory does not exist, and where weights and module do not match.
    """
    path = Path(model)
    where = f"checkpoint {model}"
    if not path.is_file():
        raise PlanError(f"checkpoint needs model, a .pt2 or .safetensors file, got {model!r}, which is none")
    if path.suffix == ".safetensors":
        network, source = _built(module), _source(module)
        _fill(network, path, where)
        shape: tuple[Any, ...] = ()
        floats = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
        dtype = next(floats, torch.float32)
    elif path.suffix == ".pt2":
        if module:
            raise PlanError(f"{where}: an exported program needs no module, got {module!r}")
        network, shape, dtype = _program(path, layer, device, where)
        source = ""
    else:
        raise PlanError(
            f"{where}: a model must be a program of torch.export.save (.pt2) or weights in .safetensors, which hold no "
            f"pickle, got {path.suffix!r}"
        )
    return Network(network.eval().requires_grad_(False).to(device), shape, dtype, (_sha256(path), source))


def first_line(error: BaseException) -> str:
    """Type and first line of an exception that a user's code raised."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"


def _built(module: str) -> nn.Module:
    """The module that the factory builds. Raises PlanError where there is no factory or it builds no module."""
    name, _, factory = module.partition(":")
    where = f"checkpoint module {module!r}"
    if not name or not factory:
        raise PlanError(f"checkpoint needs module as 'package.module:factory' beside weights, got {module!r}")
    try:
        holder = importlib.import_module(name)
    except Exception as error:  # the user's module may raise anything while it is imported
        raise PlanError(
            f"{where}: {name} cannot be imported, install it or put its folder on PYTHONPATH: {first_line(error)}"
        ) from error
    make = getattr(holder, factory, None)
    if not callable(make):
        names = {known for known, value in vars(holder).items() if callable(value) and not known.startswith("_")}
        raise PlanError(f"{where}: {name} has no factory {factory!r}{near(factory, names)}")
    try:
        with torch.random.fork_rng(devices=[]):  # drawing initial weights must not advance the global generator
            network = make()
    except Exception as error:
        raise PlanError(f"{where}: the factory must need no arguments and build: {first_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise PlanError(f"{where}: the factory must build a torch.nn.Module, got {type(network).__name__}")
    return network


def _source(module: str) -> str:
    """Digest of the factory's source file: the same weights compute something else in another module."""
    file = getattr(importlib.import_module(module.partition(":")[0]), "__file__", None)
    return _sha256(Path(file)) if file and Path(file).is_file() else ""


def _fill(network: nn.Module, path: Path, where: str) -> None:
    """Load the weights, which must be exactly those of the module."""
    try:
        missing, unexpected = load_model(network, path, strict=False)
    except (RuntimeError, SafetensorError, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if line.startswith("size mismatch")), first_line(error))
        raise PlanError(f"{where}: the weights do not fit the module: {reason}") from error
    if missing or unexpected:
        lacks = f"lack {len(missing)} tensors of the module ({min(missing)})" if missing else ""
        holds = f"hold {len(unexpected)} that it has not ({min(unexpected)})" if unexpected else ""
        raise PlanError(f"{where}: the weights {' and '.join(filter(None, (lacks, holds)))}")


def _program(
    path: Path, layer: str, device: torch.device, where: str
) -> tuple[nn.Module, tuple[Any, ...], torch.dtype]:
    """An exported program as a module, and the shape and dtype of its single input; dynamic dimensions are not ints."""
    from torch.export.passes import move_to_device_pass

    _refuse_objects(path, where)
    try:
        with _tensors_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecation warnings from within torch's loader
            program = torch.export.load(path)
            names = program.graph_signature.user_inputs
            values = [node.meta["val"] for node in program.graph.nodes if node.name in names]
            if len(names) != 1 or len(values) != 1 or not isinstance(values[0], Tensor):
                raise PlanError(f"{where}: a program must take one tensor, this takes {len(names)} inputs")
            shape, dtype = tuple(values[0].shape), values[0].dtype
            if device.type != "cpu":
                program = move_to_device_pass(program, device)  # constants in the graph included
            # Only an unflattened program has submodules, and not every program can be unflattened.
            network: nn.Module = torch.export.unflatten(program) if layer else _Evaluated(program.module())
    except PlanError:
        raise
    except Exception as error:  # a damaged archive may raise anything
        raise PlanError(f"{where}: the program does not load: {first_line(error)}") from error
    return network, shape, dtype


class _Evaluated(nn.Module):
    """Wraps an exported program, whose train and eval methods raise."""

    def __init__(self, program: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.program = [program]  # in a list, which eval() does not descend into

    def forward(self, value: Tensor) -> Any:
        return self.program[0](value)


def _refuse_objects(path: Path, where: str) -> None:
    if not zipfile.is_zipfile(path):
        raise PlanError(f"{where}: it is no program of torch.export.save, which is a zip archive, or it is cut short")
    with zipfile.ZipFile(path) as archive:
        pickled = [name for name in archive.namelist() if name.rpartition("/")[2].startswith(OBJECTS)]
    if pickled:
        raise PlanError(f"{where}: a program must hold tensors only, {pickled[0]} is a pickled object")


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Forbid torch.export.load, by its environment variable, to unpickle what is not a tensor."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
