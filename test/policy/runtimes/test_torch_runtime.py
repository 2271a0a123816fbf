# SPDX-License-Identifier: Apache-2.0
"""How weights come from a checkpoint into memory, straight into place and never twice."""

import gc
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from swiftvla_ros.model.cpu.mapped_embedding import MappedEmbedding
from swiftvla_ros.model.expert import ExpertLayer
from swiftvla_ros.model.text_model import TextLayer
from swiftvla_ros.model.vision_tower import VisionLayer
from swiftvla_ros.policy.checkpoint import CheckpointError, open_checkpoint
from swiftvla_ros.policy.runtimes.torch_runtime import load_model, load_packed

CHECKPOINT = Path(__file__).parents[3] / "models" / "swiftvla-nano-so101"


def plain_layers() -> set[int]:
    """Return the layers that are alive."""
    gc.collect()
    kinds = {VisionLayer, TextLayer, ExpertLayer}
    return {id(each) for each in gc.get_objects() if type(each) in kinds}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_words_that_stay_in_the_file_are_embedded_alike(dtype: torch.dtype) -> None:
    """Protects the mapped table: its rows are rounded to the network's type as the whole table was."""
    checkpoint = open_checkpoint(CHECKPOINT)
    words = torch.arange(300, 312)[None]
    plain, packed = load_model(checkpoint, dtype), load_packed(checkpoint, dtype, expert=True)
    assert isinstance(packed.backbone.text_model.embed_tokens, MappedEmbedding)
    assert torch.equal(packed.backbone.embed_text(words), plain.backbone.embed_text(words))


def test_plain_layers_are_gone_once_packed() -> None:
    """Protects memory: nothing holds a layer's weights beside its packed ones."""
    before = plain_layers()
    network = load_packed(open_checkpoint(CHECKPOINT), torch.float32, expert=True)
    assert plain_layers() <= before
    assert not any(parameter.is_meta for parameter in network.parameters())


def test_words_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """Protects inference: the table that stays in the file is looked through, too."""
    folder = shutil.copytree(CHECKPOINT, tmp_path / "checkpoint")
    (folder / "deploy.json").unlink(missing_ok=True)
    weights = load_file(folder / "model.safetensors")
    weights["backbone.text_model.embed_tokens.weight"][-1, -1] = float("nan")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"embed_tokens\.weight holds NaN"):
        load_packed(open_checkpoint(folder), torch.float32, expert=True)
