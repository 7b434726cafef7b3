"""Make a network of the registry by its name, and give it weights that it has learned elsewhere."""

import json
import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import nn

from wherein.models.networks.registry import NETWORKS

LOG = logging.getLogger(__name__)

WRAPPERS = ("network", "state_dict", "model")
"""Keys under which a checkpoint keeps the weights, the first one that is there counts."""

SHOWN = 3
"""Names that an error lists before it says how many more there are."""


class WeightsMismatchError(ValueError):
    """A file holds no weights of a network; the message says what it has and what it must have."""


def build(name: str, roles: int, classes: int, seed: int, size_px: int, **options: Any) -> nn.Module:
    """Make a network with random weights.

    A network takes images (N, roles, H, W) float32 and gives the vector (N, D) float32 and the logits (N, classes). One
    that draws maps has also `maps(images)`, probabilities (N, classes, h, w).

    Args:
        name: in the registry.
        roles: channels of the images.
        classes: locations.
        seed: of the weights; torch's own random numbers are left as they were.
        size_px: height and width of the images that it will be trained on. Networks whose last layers see a grid of
            fixed size get the grid of that size.
        options: of the network's own `build`.

    Returns:
        The network, on the processor, in training mode.

    Raises:
        ValueError: there is no such network, the size is not for it, or it has no such option.
    """
    if name not in NETWORKS:
        raise ValueError(f"network {name!r}: allowed are {', '.join(NETWORKS)}")
    entry = NETWORKS[name]
    if size_px < entry.smallest_px or size_px % entry.multiple_of_px:
        step = f" and multiples of {entry.multiple_of_px}" if entry.multiple_of_px > 1 else ""
        raise ValueError(
            f"network {name} was asked for {size_px} pixels: allowed are {entry.smallest_px} or more{step}"
        )
    if roles < 1 or classes < 1:
        raise ValueError(f"network {name} was asked for {roles} roles and {classes} classes: 1 or more of each")
    make = import_module(entry.module).build
    try:
        signature(make).bind(roles, classes, size_px, **options)
    except TypeError as error:
        allowed = ", ".join(list(signature(make).parameters)[3:]) or "none"
        raise ValueError(f"network {name} with options {options}: {error}; it has {allowed}") from error
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make(roles, classes, size_px, **options)


def load(network: nn.Module, path: str | Path, about: Mapping[str, Any] | None = None) -> nn.Module:
    """Give a network the weights of a file, in place.

    A file of a network that was trained here names its roles and classes: filters go to the role and weights to the
    class of the same name, whatever their order; a class that the file has not begins anew.

    Any other file may be of another number of roles or classes. Filters of the first layer are then repeated in the
    order of their channels, or left out from the end (the winner of Ouyang et al. 2019 copies the first filter of three
    for a fourth channel). What depends on the number of classes keeps the weights that it was built with, and so does
    the head of a network where the file has the body alone.

    A network says of itself which of its layers these are: `inputs` and `outputs` (dotted names of layers),
    `role_paths` (dotted names of lists with one part for each role), `class_blocks` (those of `outputs` whose inputs
    are as many for each class, too), `head` (beginnings of names), and `translate` (names of published weights to its
    own); all may be missing.

    Args:
        network: as `build` made it.
        path: a checkpoint or a state dict that torch wrote, or a npz of arrays by name. Names may be the network's own
            or those of the weights that its `translate` knows.
        about: `kind`, `inputs` and `classes` of the network, by which those of a file that names its own are matched;
            None to take layers as they come.

    Returns:
        The same network.

    Raises:
        WeightsMismatchError: the file cannot be read, or lacks weights, or has weights that are not the network's; or
            it names its roles and lacks one, or is of another kind.
    """
    wanted = network.state_dict()
    state, known = read_state(path), read_about(path)
    if about is not None and known is not None:
        state = matched(network, state, known, about, wanted, path)
    found, changed = _adapted(network, _named(network, state), wanted)
    _check(found, wanted, path)
    network.load_state_dict({**wanted, **found})
    LOG.info("weights of %s: %s", path, "; ".join(changed) or "as they are")
    return network


def _adapted(
    network: nn.Module, found: dict[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Weights of a file with the network's own number of channels and classes, and what was changed for that."""
    found, changed = dict(found), []
    for start in getattr(network, "head", ()):
        if not any(name.startswith(start) for name in found):
            found |= {name: values for name, values in wanted.items() if name.startswith(start)}
            changed.append(f"{start.rstrip('.')} begins anew, the file has none")
    for name in wanted.keys() & found.keys():
        layer, old, new = name.rpartition(".")[0], found[name].shape, wanted[name].shape
        if old == new:
            continue
        if layer in getattr(network, "inputs", ()) and old[:1] + old[2:] == new[:1] + new[2:]:
            found[name] = repeated(found[name], new[1])
            changed.append(f"{name} from {old[1]} to {new[1]} channels")
        elif layer in getattr(network, "outputs", ()) and old[:1] != new[:1]:
            found[name] = wanted[name]
            changed.append(f"{name} begins anew, for {new[0]} classes in place of {old[0]}")
    return found, sorted(changed)


def matched(
    network: nn.Module,
    state: Mapping[str, torch.Tensor],
    known: Mapping[str, Any],
    about: Mapping[str, Any],
    wanted: Mapping[str, torch.Tensor],
    path: str | Path,
) -> dict[str, torch.Tensor]:
    """Weights of a network that was trained here, for the roles and the classes of another one, by name.

    Args:
        network: the other one; see `load` for what it says of its layers.
        state: weights of the file.
        known: `kind`, `inputs`, `classes` of the file.
        about: those of the other network.
        wanted: its weights as it was built, which classes keep that the file has not.
        path: of the file, for messages.

    Raises:
        WeightsMismatchError: the file is of another kind, or lacks a role.
    """
    if known["kind"] != about["kind"]:
        raise WeightsMismatchError(f"{path} is a network of the kind {known['kind']}; a {about['kind']} was asked for")
    if lacking := [role for role in about["inputs"] if role not in known["inputs"]]:
        raise WeightsMismatchError(
            f"{path} was trained on {', '.join(known['inputs'])} and knows no {', '.join(lacking)}: leave the role out "
            "of the inputs, or start from other weights"
        )
    found = dict(state)
    places = [known["inputs"].index(role) for role in about["inputs"]]
    for layer in getattr(network, "inputs", ()):
        found[f"{layer}.weight"] = state[f"{layer}.weight"][:, places]
    for paths in getattr(network, "role_paths", ()):
        found = {name: values for name, values in found.items() if not name.startswith(f"{paths}.")}
        for number, place in enumerate(places):
            start = f"{paths}.{place}."
            own = {name: values for name, values in state.items() if name.startswith(start)}
            found |= {f"{paths}.{number}.{name.removeprefix(start)}": values for name, values in own.items()}
    if known["classes"] != about["classes"]:
        blocks = getattr(network, "class_blocks", ())
        for name, layer in ((name, name.rpartition(".")[0]) for name in state):
            if layer in getattr(network, "outputs", ()) and state[name].ndim and name in wanted:
                found[name] = _of_classes(
                    state[name], wanted[name], known["classes"], about["classes"], layer in blocks
                )
    return found


def _of_classes(
    values: torch.Tensor, built: torch.Tensor, old: Sequence[str], new: Sequence[str], blocks: bool
) -> torch.Tensor:
    """Weights of a layer with one row for each class, for other classes, by name.

    Args:
        values: (classes, ...) of the file.
        built: (classes, ...) as the network was built.
        old: classes of the file.
        new: those of the network.
        blocks: whether the second axis has as many columns for each class, class by class.
    """
    to = [number for number, name in enumerate(new) if name in old]
    there = [list(old).index(new[number]) for number in to]
    found = built.clone()
    if not (blocks and values.ndim > 1):
        if values.shape[1:] == built.shape[1:]:
            found[to] = values[there]
        return found
    given, made = values.unflatten(1, (len(old), -1)), built.unflatten(1, (len(new), -1)).clone()
    if given.shape[2:] == made.shape[2:]:
        made[torch.tensor(to)[:, None], torch.tensor(to)] = given[torch.tensor(there)[:, None], torch.tensor(there)]
    return made.flatten(1)


def read_about(path: str | Path) -> dict[str, Any] | None:
    """What a file says of its network, if it is one that was trained here (`wherein.models.trained`); else None."""
    if Path(path).suffix == ".npz":
        return None
    content = torch.load(path, map_location="cpu", weights_only=True)
    said = content.get("about") if isinstance(content, Mapping) else None
    return json.loads(said) if isinstance(said, str) else None


def repeated(filters: torch.Tensor, channels: int) -> torch.Tensor:
    """Filters (O, C, ...) for another number of channels: channel c takes those of channel c modulo C."""
    return filters[:, torch.arange(channels) % filters.shape[1]]


def read_state(path: str | Path) -> dict[str, torch.Tensor]:
    """Weights of a file, by the names that they have there.

    Args:
        path: see `load`.

    Raises:
        WeightsMismatchError: the file cannot be read.
    """
    try:
        if Path(path).suffix == ".npz":
            with np.load(path) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        content = torch.load(path, map_location="cpu", weights_only=True)
        for key in WRAPPERS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        return {name: values for name, values in content.items() if isinstance(values, torch.Tensor)}
    except (OSError, ValueError, RuntimeError, EOFError, AttributeError, UnpicklingError) as error:
        raise WeightsMismatchError(
            f"{path} holds no weights ({error}): give a file that torch.save wrote from a state dict, or the "
            "weights.pt of a trained model"
        ) from error


def parameters(network: nn.Module) -> int:
    """Number of trained values of a network."""
    return sum(values.numel() for values in network.parameters())


def _named(network: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights by the network's own names: without what wrappers for several processes put before them, translated."""
    plain = {name.removeprefix("_orig_mod.").removeprefix("module."): values for name, values in state.items()}
    translate = getattr(network, "translate", dict)
    return dict(translate(plain))


def _check(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], path: str | Path) -> None:
    # batch norms of weights from before torch counted their batches do not say how many those were
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    unknown = [name for name in found if name not in wanted]
    other = [
        f"{name} is {tuple(found[name].shape)} for {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    faults = [
        f"{what} {', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"
        for what, names in (("it lacks", missing), ("the network has no", unknown), ("shapes differ:", other))
        if names
    ]
    if faults:
        raise WeightsMismatchError(
            f"{path} does not fit the network: {'; '.join(faults)}. Give weights of the same network, trained at the "
            "same size where its last layers see a grid"
        )
