# SPDX-License-Identifier: Apache-2.0
"""``--policy.type=swiftvla``: what is trained, how, and what a checkpoint tells of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
from lerobot.optim.optimizers import AdamWConfig
from lerobot.optim.schedulers import LRSchedulerConfig
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from lerobot.utils.constants import ACTION, OBS_STATE
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from swiftvla_ros.contract.action_coding import RELATIVE
from swiftvla_ros.model import config as networks
from swiftvla_ros.policy.image_preprocessing import EXACT
from swiftvla_ros.resources import model_path
from swiftvla_ros.training.checkpoint_writer import read_config
from swiftvla_ros.training.loop import learning_rate
from swiftvla_ros.training.options import Frozen, LossWeights, TrainOptions

_WEIGHTS = LossWeights()


@LRSchedulerConfig.register_subclass("swiftvla")
@dataclass
class SwiftVLASchedulerConfig(LRSchedulerConfig):
    """Linear warm-up and cosine decay to a fiftieth, as ``swiftvla train`` has them."""

    num_warmup_steps: int = TrainOptions.warmup_steps

    def build(self, optimizer: Optimizer, num_training_steps: int) -> LambdaLR:
        """LeRobot steps it once after each optimiser step."""
        options = TrainOptions(steps=num_training_steps, learning_rate=1.0, warmup_steps=self.num_warmup_steps)
        return LambdaLR(optimizer, lambda step: learning_rate(step, options))


@PreTrainedConfig.register_subclass("swiftvla")
@dataclass
class SwiftVLAConfig(PreTrainedConfig):
    """The options of ``swiftvla train``, by the same names, and the network, robot and statistics of a checkpoint.

    Images, state and actions come and go in the dataset's units. Actions are positions; the network learns them
    relative to the state of their observation and normalised so, which no normaliser of LeRobot can do: so the policy
    itself normalises, with ``statistics``, and the pipelines' normalisers leave everything as it is.
    """

    # LeRobot fills these in from the dataset or environment.
    input_features: dict[str, PolicyFeature] | None = field(default_factory=dict)
    output_features: dict[str, PolicyFeature] | None = field(default_factory=dict)
    # A new policy's start: a checkpoint of ours (a grounded backbone, an imported SmolVLA, an earlier stage's), as
    # `swiftvla train --init`; empty: random weights. LeRobot's own folders are started from with --policy.path.
    init: str = "models/swiftvla-nano-grounding"
    preset: str | None = None  # network to build, and to fill from `init`; None: the network of `init`
    stage: int = 1  # 1: actions alone. 2: 4D features too, which are the dataset's columns swiftvla.geometry.*
    # Rows of a chunk, and those that are executed before the next is computed; 0: the network's, all of them.
    chunk_size: int = 0
    n_action_steps: int = 0
    mask_4d: float = networks.GeometryBranchConfig.p_mask_4d
    mask_2d: float = networks.GeometryBranchConfig.p_mask_2d
    mask_2d_ramp_steps: int = networks.GeometryBranchConfig.mask_2d_ramp_steps
    reconstruct: bool = True
    cache_steps: tuple[int, ...] = TrainOptions.cache_steps
    freeze: str = "auto"  # "nothing", "vision", "backbone"; auto: nothing in stage 1, the vision tower in stage 2
    noise_samples: int = TrainOptions.noise_samples
    max_delay_steps: int | None = None  # rows given as executed, for real-time chunking; None: as the start was trained
    augment: bool = True  # whether light, colour and noise of the observations are varied
    trajectory_weight: float = _WEIGHTS.trajectory
    reconstruct_2d_weight: float = _WEIGHTS.reconstruct_2d
    reconstruct_4d_weight: float = _WEIGHTS.reconstruct_4d
    optimizer_lr: float | None = None  # None: 1e-3 in stage 1, 5e-4 in stage 2
    scheduler_warmup_steps: int = TrainOptions.warmup_steps
    seed: int = 0  # of new weights, noise, masks and augmentation
    rtc_config: RTCConfig | None = None

    # What follows a training fills in from start and dataset.
    started: bool = False  # whether weights were taken from `init`
    network: dict[str, Any] = field(default_factory=dict)  # swiftvla_ros.model.config.SwiftVLAConfig
    action_kind: str = RELATIVE  # what the network's rows are: a kind of swiftvla_ros.contract.ActionCoding
    image_fit: str = EXACT  # how images come to the network's size
    step_s: float = 0.0  # from one row to the next: a frame of the dataset
    cameras: list[str] = field(default_factory=list)  # features, in the order in which the network reads them
    joint_names: list[str] = field(default_factory=list)  # of the vectors
    grippers: list[int] = field(default_factory=list)  # columns that hold positions whatever the rows are
    continuous: list[int] = field(default_factory=list)  # columns that are angles, rad, and may be given wrapped
    statistics: dict[str, Any] = field(default_factory=dict)  # stats.json: of the state, and of the network's rows

    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)
    )

    def __post_init__(self) -> None:
        """Find the network, on which the number of rows depends."""
        super().__post_init__()
        if self.stage not in (1, 2):
            raise ValueError(f"policy.stage is {self.stage}; write 1 (actions alone) or 2 (with 4D features)")
        if not self.network:
            if self.preset is not None and self.preset not in networks.PRESETS:
                raise ValueError(f"policy.preset '{self.preset}' is unknown; write one of {sorted(networks.PRESETS)}")
            if self.preset is None and not self.init:
                raise ValueError("policy.init and policy.preset are empty; name a checkpoint, or a preset")
            network = networks.PRESETS[self.preset]() if self.preset else read_config(model_path(self.init))
            self.set_network(replace(network, geometry=None))
        horizon = self.swiftvla.horizon
        self.chunk_size = self.chunk_size or horizon
        self.n_action_steps = self.n_action_steps or self.chunk_size
        if self.chunk_size != horizon or not 0 < self.n_action_steps <= horizon:
            raise ValueError(
                f"policy.chunk_size is {self.chunk_size} and policy.n_action_steps {self.n_action_steps}, but the "
                f"network's chunks have {horizon} rows: leave chunk_size out, and write 1 to {horizon}"
            )
        if any(mode is not NormalizationMode.IDENTITY for mode in self.normalization_mapping.values()):
            raise ValueError("policy.normalization_mapping: the policy normalises by itself; leave it out")

    @property
    def swiftvla(self) -> networks.SwiftVLAConfig:
        """The network."""
        return networks.SwiftVLAConfig.from_json(self.network)

    def set_network(self, network: networks.SwiftVLAConfig) -> None:
        """Build another network."""
        self.network = asdict(network)

    @property
    def frozen(self) -> Frozen:
        """What is not trained."""
        if self.freeze not in ("auto", "nothing", "vision", "backbone"):
            raise ValueError(f"policy.freeze '{self.freeze}' is unknown; write auto, nothing, vision or backbone")
        automatic: Frozen = "vision" if self.stage == 2 else "nothing"
        return automatic if self.freeze == "auto" else self.freeze  # type: ignore[return-value]  # checked above

    def train_options(self, batch: int) -> TrainOptions:
        """How batches of so many samples are drawn and judged."""
        return TrainOptions(
            steps=0,  # LeRobot's business
            batch=batch,
            scene_share=0.0,
            noise_samples=self.noise_samples,
            weights=LossWeights(
                trajectory=self.trajectory_weight,
                reconstruct_2d=self.reconstruct_2d_weight,
                reconstruct_4d=self.reconstruct_4d_weight,
            ),
            cache_steps=tuple(self.cache_steps),
            frozen=self.frozen,
            seed=self.seed,
        )

    def get_optimizer_preset(self) -> AdamWConfig:
        """The optimiser of ``swiftvla train``."""
        options = TrainOptions(steps=0)
        return AdamWConfig(
            lr=self.optimizer_lr or (5e-4 if self.stage == 2 else 1e-3),
            betas=options.betas,
            weight_decay=options.weight_decay,
            grad_clip_norm=options.clip_norm,
        )

    def get_scheduler_preset(self) -> SwiftVLASchedulerConfig:
        """Its learning rate."""
        return SwiftVLASchedulerConfig(num_warmup_steps=self.scheduler_warmup_steps)

    def validate_features(self) -> None:
        """Keep images, state and action: a dataset's stamps are numbers of "observation" and "action" for LeRobot."""
        inputs, outputs = self.input_features or {}, self.output_features or {}
        images = {name: feature for name, feature in inputs.items() if feature.type is FeatureType.VISUAL}
        lacking = [name for name, there in ((OBS_STATE, inputs), (ACTION, outputs)) if name not in there]
        if lacking or not images:
            raise ValueError(
                f"the dataset or environment lacks {' and '.join(lacking) or 'images'}; this policy reads images and "
                f"{OBS_STATE}, and gives {ACTION}"
            )
        self.input_features = {**images, OBS_STATE: inputs[OBS_STATE]}
        self.output_features = {ACTION: outputs[ACTION]}

    @property
    def observation_delta_indices(self) -> None:
        """One observation, without an axis of time."""
        return

    @property
    def action_delta_indices(self) -> list[int]:
        """The rows of a chunk."""
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        """No rewards."""
        return
