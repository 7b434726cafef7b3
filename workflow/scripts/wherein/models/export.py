"""A trained network as a package of the bioimage.io model zoo: description, weights, test input and outputs, card.

The weights are TorchScript, so that whoever opens the package needs PyTorch and nothing of ours. Written after the
specification of model descriptions, format 0.5 (bioimage.io, spec-bioimage-io).
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from wherein import __version__
from wherein.atomic import atomic_path
from wherein.models.card import grid_words
from wherein.models.networks.registry import NETWORKS
from wherein.models.trained import load_trained
from wherein.summary import stage_summary

FORMAT = "0.5.4"

ZOO = "https://bioimage.io"

CITATION = Path(__file__).resolve().parents[4] / "CITATION.cff"
"""Who wrote the workflow, and the papers that its networks come from."""

DESCRIBED = 128
"""Most characters that the format allows in the description of an input."""

TOLERANCE = 1e-4
"""How far what the package says may lie from what the network says."""

WRITTEN = (1980, 1, 1, 0, 0, 0)
"""Time of all files in the package, so that packages of the same network differ in the bytes of TorchScript alone."""


class Answer(nn.Module):
    """A network as others use it: images to probabilities and vectors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (N, K) and vectors (N, D) of normalized images (N, C, H, W)."""
        vector, logits = self.network(images)[:2]
        return torch.sigmoid(logits), vector


def export_model(model: str, weights: str, card: str, settings: Mapping[str, Any], package: str, summary: str) -> None:
    """Write the package of one model.

    Args:
        model: the model's name.
        weights: the trained network.
        card: its card.
        settings: the section `package` of the configuration.
        package: zip to write.
        summary: the job's summary.

    Raises:
        RuntimeError: the weights of the package do not answer as the network does.
    """
    with stage_summary(summary, "export_model", model, ("numpy", "torch")) as report:
        network, about = load_trained(weights)
        files = contents(network, about, Path(card).read_text(), settings)
        with atomic_path(package) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name, WRITTEN), content, zipfile.ZIP_DEFLATED)
        report.counts = {"in": len(files), "kept": len(files)}


def contents(network: nn.Module, about: Mapping[str, Any], card: str, settings: Mapping[str, Any]) -> dict[str, bytes]:
    """Files of a package, by name.

    Args:
        network: in evaluation mode, on the processor.
        about: what is known of it (`wherein.models.trained.KEYS`).
        card: Markdown.
        settings: the section `package` of the configuration.

    Raises:
        ValueError: the network predicts no location.
        RuntimeError: the weights of the package do not answer as the network does.
    """
    if "reagents" in about:
        raise ValueError(
            f"{about['model']} was trained to tell reagents apart and predicts no location: there is nothing to pack. "
            "Its vectors are in results/embeddings"
        )
    shape = (1, len(about["inputs"]), about["side_px"], about["side_px"])
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    answer = Answer(network).eval()
    with torch.inference_mode():
        probabilities, vector = answer(images)
    script = io.BytesIO()
    torch.jit.save(torch.jit.trace(answer, images, check_trace=False), script)
    check(script.getvalue(), images, probabilities, vector)
    names = "".join(f"{identifier(name)}\t{name}\n" for name in about["classes"])
    files = {
        "weights.torchscript.pt": script.getvalue(),
        "README.md": card.encode(),
        "classes.tsv": f"channel\tclass\n{names}".encode(),
        "test_input.npy": _npy(images),
        "test_probabilities.npy": _npy(probabilities),
        "test_vector.npy": _npy(vector),
    }
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    described = description(about, settings, sums)
    return {"rdf.yaml": yaml.safe_dump(described, sort_keys=False, allow_unicode=True).encode(), **files}


def check(script: bytes, images: Tensor, probabilities: Tensor, vector: Tensor) -> None:
    """Compare what weights of a package say with what they should.

    Raises:
        RuntimeError: they say something else.
    """
    with torch.inference_mode():
        found = torch.jit.load(io.BytesIO(script))(images)
    away = max(float((one - other).abs().max()) for one, other in zip(found, (probabilities, vector), strict=True))
    if not away <= TOLERANCE:
        raise RuntimeError(f"the exported weights are {away:.2g} away from the network; {TOLERANCE:g} is allowed")


def credits_of(source: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Who made a model, and what to cite.

    Args:
        source: of the network, as the registry names its papers.
        settings: the section `package` of the configuration.

    Returns:
        `authors` (of the configuration, else of CITATION.cff), `cite` (the workflow's papers among the network's; of a
        network of none of them the workflow), and `license` where one is configured.
    """
    known = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    papers = []
    for paper in known["references"]:
        if f"{paper['authors'][0]['family-names']} et al. {paper['year']}" in source:
            where = {"doi": paper["doi"]} if "doi" in paper else {"url": paper["url"]}
            papers.append({"text": f"{paper['title']}. {paper['journal']} {paper['year']}", **where})
    if not papers:
        # the format wants a paper; `source` says in words what the network is
        papers.append({"text": f"{known['title']}; network: {source}", "url": ZOO})
    authors = settings["authors"] or [{"name": author["name"]} for author in known["authors"]]
    licence = {"license": settings["license"]} if settings["license"] else {}
    return {"authors": [dict(author) for author in authors], "cite": papers, **licence}


def description(about: Mapping[str, Any], settings: Mapping[str, Any], sums: Mapping[str, str]) -> dict[str, Any]:
    """Content of rdf.yaml.

    Args:
        about: what is known of the network.
        settings: the section `package` of the configuration.
        sums: sha256 of the files, by name.
    """
    network, side = NETWORKS[about["kind"]], about["side_px"]

    def file(name: str) -> dict[str, str]:
        return {"source": name, "sha256": sums[name]}

    batch = {"type": "batch"}
    space = [{"type": "space", "id": axis, "size": side} for axis in ("y", "x")]
    return {
        "type": "model",
        "format_version": FORMAT,
        "name": f"{about['model']} ({about['kind']})"[:128],
        "description": f"Tells protein locations ({about['vocabulary']}) from images of {about['level']}s.",
        **credits_of(network.source, settings),
        "documentation": "README.md",
        "tags": ["classification", "protein-localization", "fluorescence-light-microscopy", about["kind"]],
        "attachments": [file("classes.tsv")],
        "inputs": [
            {
                "id": "image",
                "description": f"{grid_words(about)}; intensities by `{about['normalization']}` (README.md)"[
                    :DESCRIBED
                ],
                "axes": [batch, {"type": "channel", "channel_names": list(about["inputs"])}, *space],
                "data": {"type": "float32"},
                "test_tensor": file("test_input.npy"),
            }
        ],
        "outputs": [
            {
                "id": "probabilities",
                "description": "of each class, independent of the others",
                "axes": [batch, {"type": "channel", "channel_names": [identifier(name) for name in about["classes"]]}],
                "data": {"type": "float32", "range": [0.0, 1.0]},
                "test_tensor": file("test_probabilities.npy"),
            },
            {
                "id": "vector",
                "description": "the last layer before the classes",
                "axes": [batch, {"type": "channel", "channel_names": [f"v{n}" for n in range(network.embedding)]}],
                "data": {"type": "float32"},
                "test_tensor": file("test_vector.npy"),
            },
        ],
        "weights": {
            "torchscript": {**file("weights.torchscript.pt"), "pytorch_version": torch.__version__.split("+")[0]}
        },
        "config": {"wherein": {"version": __version__, "kind": about["kind"], "seed": about["seed"]}},
    }


def identifier(name: str) -> str:
    """A class as the name of a channel: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name.strip()).strip("_").lower()


def _npy(values: Tensor) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values.numpy())
    return buffer.getvalue()
