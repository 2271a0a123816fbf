# SPDX-License-Identifier: Apache-2.0
"""StreamVGGT's and VGGT's public weights as a geometry checkpoint, with every tensor accounted for."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from swiftvla_ros.errors import UserError
from swiftvla_ros.files import some_of, tensor_problems, unreadable, whole_file
from swiftvla_ros.geometry.checkpoint import WEIGHTS, build_on_meta, write_config_and_card
from swiftvla_ros.geometry.config import PRESETS, GeometryConfig

# What the published networks have and this one has no use for: the point tracker, and DINOv2's token for pixels that
# are masked in its own pretraining.
UNUSED = ("track_head.", "aggregator.patch_embed.mask_token")


class GeometryImportError(UserError, ValueError):
    """Weights that can't be imported; the message names the file, the tensors and the fix."""


@dataclass(frozen=True)
class ImportReport:
    """Where every tensor of the file went."""

    imported: tuple[str, ...]
    # By name: all of them start with one of ``UNUSED``.
    unused: tuple[str, ...]


def import_weights(
    weights: Path | str,
    folder: Path | str,
    causal: bool,
    config: GeometryConfig | None = None,
    dtype: torch.dtype = torch.float32,
) -> ImportReport:
    """Write the geometry checkpoint ``folder`` from a published state dict.

    Parameters
    ----------
    weights
        A ``.safetensors`` file with the tensor names of StreamVGGT or VGGT, which are the same.
    causal
        True for StreamVGGT; False for VGGT, which was trained to see all frames at once and cannot stream.
    config
        Dimensions; the ``streamvggt-1b`` preset's by default.

    Raises
    ------
    GeometryImportError
        No file, not safetensors, or a tensor is missing, unknown or of another shape: each is named.
    """
    weights, folder = Path(weights), Path(folder)
    config = dataclasses.replace(config or PRESETS["streamvggt-1b"](), causal=causal)
    _require_safetensors(weights)
    if not weights.is_file():
        raise GeometryImportError(f"{weights}: no such file")
    expected = {name: tuple(tensor.shape) for name, tensor in build_on_meta(config).state_dict().items()}
    try:
        with safe_open(weights, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            unused = tuple(name for name in shapes if name not in expected and name.startswith(UNUSED))
            problems = tensor_problems(expected, {name: s for name, s in shapes.items() if name not in unused})
            if problems:
                raise GeometryImportError(
                    f"{weights}: {some_of(problems)}. Is it the state dict of StreamVGGT or VGGT, in the dimensions of "
                    "the configuration?"
                )
            tensors = {name: file.get_tensor(name).to(dtype) for name in expected}
    except (OSError, SafetensorError) as error:
        raise GeometryImportError(unreadable(weights, error, "download it again")) from error
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / WEIGHTS) as partial:
        save_file(tensors, partial)
    write_config_and_card(folder, config, _card(weights, causal, unused))
    return ImportReport(imported=tuple(expected), unused=unused)


def _require_safetensors(weights: Path) -> None:
    if weights.suffix == ".safetensors":
        return
    converted = weights.with_suffix(".safetensors")
    raise GeometryImportError(
        f"{weights}: only .safetensors files are read, since others can run code while they load. Convert it once, "
        'yourself: python -c "import torch, safetensors.torch as s; s.save_file({k: v.contiguous().clone() for k, v in '
        f"torch.load('{weights}', map_location='cpu', weights_only=True).items()}}, '{converted}')\""
    )


def _card(weights: Path, causal: bool, unused: tuple[str, ...]) -> str:
    source = "StreamVGGT (causal)" if causal else "VGGT (all frames at once)"
    return (
        f"# Geometry transformer, imported\n\nWeights of {source}, from `{weights.name}`. They stay under their "
        "authors' licence: StreamVGGT's is CC BY-NC-SA 4.0 (no commercial use), VGGT's its own.\n\n"
        f"{len(unused)} tensors of the file have no use here and were left out: the point tracker and DINOv2's mask "
        "token.\n"
    )
