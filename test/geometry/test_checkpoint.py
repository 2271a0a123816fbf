# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders, and public weights imported into them."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from swiftvla_ros.geometry import (
    PRESETS,
    GeometryCheckpointError,
    GeometryConfig,
    GeometryTransformer,
    load_geometry,
    save_geometry,
)
from swiftvla_ros.geometry.importer import GeometryImportError, import_weights

Draw = Callable[..., Tensor]
Config = Callable[..., GeometryConfig]
Build = Callable[[GeometryConfig], GeometryTransformer]


@pytest.fixture
def folder(tiny: GeometryTransformer, tmp_path: Path) -> Path:
    """Return a checkpoint folder of the tiny network."""
    save_geometry(tiny, tmp_path / "geometry", "# A card\n")
    return tmp_path / "geometry"


@pytest.mark.parametrize("name", PRESETS)
def test_config_survives_json(name: str) -> None:
    """Protects checkpoints: a configuration read back is the one that was written, and unknown fields are refused."""
    config = PRESETS[name]()
    assert GeometryConfig.from_json(json.loads(json.dumps(asdict(config)))) == config
    with pytest.raises(ValueError, match="surprise is unknown"):
        GeometryConfig.from_json({**asdict(config), "surprise": 1})


def test_saved_network_answers_the_same(tiny: GeometryTransformer, folder: Path, draw: Draw) -> None:
    """Protects checkpoints: what was saved is what is loaded, tables that are no weights included."""
    loaded = load_geometry(folder)
    with torch.no_grad():
        expected, out = tiny(draw(1, 2)), loaded(draw(1, 2))
    assert all(torch.equal(a, b) for a, b in zip(expected, out, strict=True))
    assert (folder / "card.md").read_text(encoding="utf-8") == "# A card\n"


def test_bf16_weights_keep_tables_exact(tiny: GeometryTransformer, folder: Path, draw: Draw) -> None:
    """Protects half-precision inference: weights are bf16, rotations and image statistics stay fp32, results near."""
    loaded = load_geometry(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in loaded.buffers()} == {torch.float32}
    with torch.no_grad():
        expected, out = tiny(draw(1, 2), heads=()), loaded(draw(1, 2), heads=())
    error = (out.features.float() - expected.features).norm() / expected.features.norm()
    assert float(error) < 0.1


def test_unusable_checkpoints_say_why(folder: Path) -> None:
    """Protects users: a missing file, another format, a wrong field, wrong or corrupt weights are named."""
    config, weights = folder / "config.json", folder / "model.safetensors"
    good, tensors = json.loads(config.read_text(encoding="utf-8")), load_file(weights)
    with pytest.raises(GeometryCheckpointError, match=r"lacks .*config\.json"):
        load_geometry(folder / "nowhere")
    config.write_text(json.dumps({**good, "format": "other"}), encoding="utf-8")
    with pytest.raises(GeometryCheckpointError, match="format 'other'"):
        load_geometry(folder)
    config.write_text(json.dumps({**good, "model": {**good["model"], "surprise": 1}}), encoding="utf-8")
    with pytest.raises(GeometryCheckpointError, match="surprise"):
        load_geometry(folder)
    config.write_text(json.dumps(good), encoding="utf-8")
    del tensors["aggregator.camera_token"]
    save_file(tensors, weights)
    with pytest.raises(GeometryCheckpointError, match=r"aggregator\.camera_token"):
        load_geometry(folder)
    weights.write_bytes(b"nothing")
    with pytest.raises(GeometryCheckpointError, match="corrupt"):
        load_geometry(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": (96, 100)}, "multiples of patch_size"),
        ({"dim": 132}, "multiple of 4 channels"),
        ({"image_size": (99, 99), "patch_size": 11}, "must be even"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, object], message: str) -> None:
    """Protects whoever edits a configuration: sizes that can't be built are named."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PRESETS["geometry-nano"](), **change)


def test_public_weights_are_imported(config: Config, build: Build, tmp_path: Path, draw: Draw) -> None:
    """Protects the importer: every tensor lands in its place, unused ones are listed, and both readings work."""
    net = build(config("dpt"))
    spare = {"track_head.tracker.x.weight": torch.ones(2), "aggregator.patch_embed.mask_token": torch.ones(1, 32)}
    save_file({**net.state_dict(), **spare}, tmp_path / "public.safetensors")
    report = import_weights(tmp_path / "public.safetensors", tmp_path / "stream", causal=True, config=config("dpt"))
    assert set(report.imported) == set(net.state_dict())
    assert set(report.unused) == set(spare)
    images = draw(1, 3)
    with torch.no_grad():
        causal = load_geometry(tmp_path / "stream")(images)
        assert all(torch.equal(a, b) for a, b in zip(causal, net(images), strict=True))
        import_weights(tmp_path / "public.safetensors", tmp_path / "all", causal=False, config=config("dpt"))
        everything = load_geometry(tmp_path / "all")
        assert float((everything(images).features - causal.features).abs().max()) > 1e-3
        swapped = everything(images[:, [0, 2, 1]]).features[:, [0, 2, 1]]
    torch.testing.assert_close(swapped, everything(images).features, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="no stream"):
        everything.start(1, 3)
    with pytest.raises(ValueError, match="causal attention"):
        everything(images, window=3)


def test_importer_names_what_does_not_fit(config: Config, build: Build, tmp_path: Path) -> None:
    """Protects against half-imported weights: missing, unknown and misshapen tensors are named, pickles refused."""
    tensors = dict(build(config("dpt")).state_dict())
    del tensors["camera_head.embed_pose.bias"]
    tensors["surprise.weight"] = torch.ones(1)
    tensors["depth_head.norm.bias"] = torch.ones(3)
    path = tmp_path / "public.safetensors"
    save_file(tensors, path)
    with pytest.raises(GeometryImportError) as error:
        import_weights(path, tmp_path / "out", causal=True, config=config("dpt"))
    for part in (
        "missing camera_head.embed_pose.bias",
        "unknown surprise.weight",
        "depth_head.norm.bias has shape [3], expected [64]",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(GeometryImportError, match="weights_only=True"):
        import_weights(tmp_path / "checkpoints.pth", tmp_path / "out", causal=True)
    path.write_bytes(b"nothing")
    with pytest.raises(GeometryImportError, match="corrupt"):
        import_weights(path, tmp_path / "out", causal=True, config=config("dpt"))
    with pytest.raises(GeometryImportError, match="no such file"):
        import_weights(tmp_path / "absent.safetensors", tmp_path / "out", causal=True)
