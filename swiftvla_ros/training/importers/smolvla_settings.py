# SPDX-License-Identifier: Apache-2.0
"""A lerobot SmolVLA's ``config.json``: every key is honoured, refused, or known to change nothing that is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swiftvla_ros.errors import in_a_sentence
from swiftvla_ros.files import where_else
from swiftvla_ros.policy.checkpoint import FORMAT, CheckpointError, read_json

# lerobot takes the sizes from the hub; of what shapes don't tell, these models have the same.
KNOWN_BACKBONES = ("SmolVLM2-500M-Video-Instruct", "SmolVLM2-256M-Video-Instruct", "SmolVLM-500M-Instruct")

Size = Annotated[int, Field(gt=0, le=4096)]

# Keys that change nothing of the chunks that are computed, and why; those of one reason together.
WITHOUT_EFFECT = {
    "it only matters in training": (
        "freeze_vision_encoder", "train_expert_only", "train_state_proj", "optimizer_lr", "optimizer_betas",
        "optimizer_eps", "optimizer_weight_decay", "optimizer_grad_clip_norm", "scheduler_warmup_steps",
        "scheduler_decay_steps", "scheduler_decay_lr", "expert_width_multiplier",
    ),
    "it says where the policy comes from": (
        "push_to_hub", "repo_id", "private", "tags", "license", "pretrained_path", "pretrained_revision",
    ),
    "device and precision are chosen where the policy is loaded": ("device", "use_amp"),
    "it changes the speed and not the result": ("use_cache", "compile_model", "compile_mode"),
    "it adds padding, which is masked": ("prefix_length", "pad_language_to", "empty_cameras"),
    "the executor decides how many rows of a chunk are followed": ("n_action_steps",),
    "how chunks continue each other is chosen by guidance": ("rtc_config",),
}  # fmt: skip


class Feature(BaseModel):
    """A feature of the policy; of an image ``shape`` is channels, height, width."""

    model_config = ConfigDict(strict=True)

    type: str
    shape: tuple[Size, ...]


class Settings(BaseModel):
    """What is honoured; a literal is a setting of which only one value can be."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["smolvla"]
    input_features: dict[str, Feature]
    output_features: dict[str, Feature]
    chunk_size: Size
    num_steps: Size
    max_state_dim: Size
    max_action_dim: Size
    num_vlm_layers: Annotated[int, Field(gt=0, le=512)]
    self_attn_every_n_layers: Size
    tokenizer_max_length: Size
    resize_imgs_with_padding: tuple[Size, Size]
    num_expert_layers: int = -1
    vlm_model_name: str = KNOWN_BACKBONES[0]
    load_vlm_weights: bool = False
    normalization_mapping: dict[str, str] = Field(default_factory=dict)
    n_obs_steps: Literal[1] = 1
    adapt_to_pi_aloha: Literal[False] = False
    use_delta_joint_actions_aloha: Literal[False] = False
    add_image_special_tokens: Literal[False] = False
    attention_mode: Literal["cross_attn"] = "cross_attn"
    min_period: float = 4e-3
    max_period: float = 4.0
    use_peft: Literal[False] = False

    @property
    def images(self) -> dict[str, tuple[int, int]]:
        """The camera features, each with the (width, height) of its training images."""
        cameras = {name: feature.shape for name, feature in self.input_features.items() if feature.type == "VISUAL"}
        return {
            name: (shape[2], shape[1]) if shape[0] == 3 else (shape[1], shape[0]) for name, shape in cameras.items()
        }


def read_settings(folder: Path) -> tuple[Settings, list[str]]:
    """Read ``config.json``, with a note on what has no effect here.

    Raises
    ------
    CheckpointError
        It isn't there, isn't SmolVLA's, or asks for what can't be computed; names the key, and the fix.
    """
    path = folder / "config.json"
    if not path.is_file():
        hint = where_else(folder, path.name) or "copy the whole folder that lerobot wrote"
        raise CheckpointError(f"{folder}: has no config.json; {hint}")
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(_lora(folder / "adapter_config.json"))
    data = read_json(path)
    if data.get("format") == FORMAT:
        raise CheckpointError(f"{path}: is this package's own checkpoint already; use it as it is")
    if data.get("use_peft"):
        raise CheckpointError(_lora(path))
    try:
        settings = Settings.model_validate_json(path.read_text(encoding="utf-8-sig"))
    except (ValidationError, UnicodeError) as error:
        reason = in_a_sentence(error) if isinstance(error, ValidationError) else str(error)
        raise CheckpointError(
            f"{path}: {reason}; only SmolVLA policies as lerobot 0.1 to 0.4 writes them can be imported: save it again "
            "with lerobot 0.4"
        ) from None
    _check(path, settings)
    return settings, _without_effect(path, data)


def _check(path: Path, settings: Settings) -> None:
    """Refuse what no type tells."""
    if (settings.min_period, settings.max_period) != (4e-3, 4.0):
        raise CheckpointError(
            f"{path}: min_period {settings.min_period} and max_period {settings.max_period}: only 0.004 and 4.0 can be "
            "imported; train the policy with them"
        )
    if settings.vlm_model_name.rpartition("/")[2] not in KNOWN_BACKBONES:
        raise CheckpointError(
            f"{path}: vlm_model_name '{settings.vlm_model_name}' is unknown; known are {list(KNOWN_BACKBONES)}"
        )
    layers, expert_layers = settings.num_vlm_layers, settings.num_expert_layers
    if expert_layers > 0 and expert_layers != layers:
        raise CheckpointError(
            f"{path}: num_vlm_layers {layers}, num_expert_layers {expert_layers}, self_attn_every_n_layers "
            f"{settings.self_attn_every_n_layers}: only as many expert layers as layers of the language model, "
            "some of them joint ones, can be imported"
        )
    for name, feature in settings.input_features.items():
        shape = feature.shape
        if feature.type == "VISUAL" and (len(shape) != 3 or 3 not in (shape[0], shape[2])):
            raise CheckpointError(f"{path}: input_features.{name}.shape {list(shape)} is not [3, height, width]")
    strange = [name for name, f in settings.input_features.items() if f.type not in ("VISUAL", "STATE")]
    if strange:
        raise CheckpointError(
            f"{path}: input_features {strange} are neither VISUAL nor STATE; only images and the joints' state are "
            "read, so train the policy without them"
        )


def _without_effect(path: Path, data: dict[str, Any]) -> list[str]:
    """Note which keys have no effect here; refuse those that nothing is known of."""
    known = {key for keys in WITHOUT_EFFECT.values() for key in keys} | set(Settings.model_fields)
    unknown = sorted(set(data) - known)
    if unknown:
        raise CheckpointError(
            f"{path}: {unknown}: settings that this version doesn't know, and they may change what is computed; take "
            "out of the file what does not"
        )
    lines = []
    for reason, keys in WITHOUT_EFFECT.items():
        there = [key for key in keys if data.get(key) is not None]
        if there:
            lines.append(f"{', '.join(there)} ({reason})")
    return [f"settings of config.json without effect here: {'; '.join(lines)}"] if lines else []


def _lora(path: Path) -> str:
    return (
        f"{path}: these weights are a LoRA adapter, not a whole policy; merge it into the policy that it was trained "
        "from and save that: PeftModel.from_pretrained(policy, ADAPTER).merge_and_unload().save_pretrained(FOLDER), "
        "with `use_peft` false in its config.json"
    )
