# SPDX-License-Identifier: Apache-2.0
"""``deploy.json``: which graphs of a network lie in a folder, of which checkpoint, and what they were found to do.

``swiftvla export`` writes it. A folder that has one can be run without torch, whether or not the weights that it was
exported from lie there too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from swiftvla_ros.contract.hashing import file_blocks, sha256
from swiftvla_ros.errors import in_a_sentence
from swiftvla_ros.files import read_json_object, whole_file

DEPLOY = "deploy.json"
# The graphs of one network: one camera's image; embedded images, words and state; one denoising step.
VISION, PREFIX, STEP = "vision", "prefix", "step"
STAGES = (VISION, PREFIX, STEP)

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# A file of the folder itself: a path in it would lead elsewhere.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]


class StageContent(BaseModel):
    """What a stage's graph holds, counted in the graph itself."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    file: FileName
    nodes: dict[str, int]  # kind of node → how many
    weight_bytes: dict[str, int]  # type of number → bytes of weights


class Deployment(BaseModel):
    """A folder's graphs."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal["swiftvla_ros/deploy/1"] = "swiftvla_ros/deploy/1"
    checkpoint_sha256: Sha256  # of the checkpoint that was exported, as chunks carry it
    graphs: Literal["onnx", "openvino"]
    precision: str  # what weights and activations are
    ends: FileName  # safetensors: embedding table and ends of the flow
    camera_names: tuple[str, ...]
    max_text_tokens: Annotated[int, Field(gt=0)]
    stages: dict[str, StageContent]
    files: dict[FileName, Sha256]  # all that decides what the policy does
    made_with: dict[str, str]  # library → version
    gate: dict[str, Any] = {}  # what the parity gate measured, by runtime

    def write(self, folder: Path) -> None:
        """Write ``deploy.json``, whole or not at all."""
        with whole_file(folder / DEPLOY) as partial:
            partial.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def changed_files(self, folder: Path) -> list[str]:
        """Files of the folder that are missing or not those that were checked."""
        return [
            name
            for name, digest in self.files.items()
            if not (folder / name).is_file() or sha256(file_blocks(folder / name)) != digest
        ]


def read_deployment(folder: Path) -> Deployment | None:
    """The folder's deployment, None where there is none; ValueError names the key that is wrong, and the fix."""
    path = folder / DEPLOY
    if not path.is_file():
        return None
    again = "export the checkpoint again with `swiftvla export`"
    try:
        found = Deployment.model_validate(read_json_object(path), strict=False)
    except ValidationError as error:
        raise ValueError(f"{path}: {in_a_sentence(error)}; {again}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not JSON ({error}); {again}") from error
    if missing := sorted({*STAGES} - {*found.stages}):
        raise ValueError(f"{path}: stages lacks {missing}; {again}")
    return found
