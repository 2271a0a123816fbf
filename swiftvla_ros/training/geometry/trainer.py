# SPDX-License-Identifier: Apache-2.0
"""Training of the small 4D geometry network on rendered sequences, and the checkpoint that comes out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from swiftvla_ros.episodes.datasets.store import list_files
from swiftvla_ros.geometry import PRESETS, GeometryConfig, GeometryTransformer, load_geometry, save_geometry
from swiftvla_ros.training.distributed import join_processes, run_processes
from swiftvla_ros.training.geometry.accuracy import (
    TRAINED,
    TRIVIAL,
    UNTRAINED,
    Table,
    TrivialPredictor,
    margins_line,
    measure,
    table_lines,
)
from swiftvla_ros.training.geometry.objective import LOSSES, WEIGHTS, GeometryObjective
from swiftvla_ros.training.geometry.samples import GeometrySample, SequenceSamples
from swiftvla_ros.training.loop import TrainingLoop, TrainingRun, hold_out, learning_rate
from swiftvla_ros.training.options import TrainOptions
from swiftvla_ros.training.report import Report, Validation
from swiftvla_ros.training.resume_state import STATE

_VALIDATION_SEQUENCES = 16
# Share of the run, from its start, in which no batch has the longest sequences.
_SHORT = 0.5
# Muon evens out a matrix's directions, of which narrower ones have too few.
_MATRIX = 32
_WHITENING_SEQUENCES = 200
# Variance below which a component is left as faint as it is.
_WHITENING_FLOOR = 0.01


@dataclass(frozen=True)
class GeometryRun(TrainingRun):
    """What the geometry network is trained with.

    Of its options, ``batch`` counts policy steps, each seen by all cameras; what speaks of policies has no meaning.
    ``lengths`` are policy steps of the sequences in a batch, drawn for every batch; the longest only in the second half
    of the run.
    """

    lengths: tuple[int, ...] = (1, 2, 6)


class GeometryTrainer(TrainingLoop[GeometryObjective]):
    """The geometry network's training."""

    def __init__(
        self, objective: GeometryObjective, train: SequenceSamples, held_out: SequenceSamples, run: GeometryRun
    ) -> None:
        options, accelerator = run.options, join_processes(run.used_device, run.options.precision, accumulate=1)
        shares = math.lcm(*run.lengths) * accelerator.num_processes
        if options.batch % shares:
            raise ValueError(
                f"--batch {options.batch} can't be shared by {accelerator.num_processes} processes in sequences "
                f"of {', '.join(map(str, run.lengths))} steps; write a multiple of {shares}"
            )
        super().__init__(objective, options, accelerator)
        self.train, self.held_out, self.lengths = train, held_out, run.lengths
        self.muon, self.stored = _optimizers(self.objective, options)
        self.parallel = accelerator.prepare(self.objective)
        self.weights = torch.tensor(WEIGHTS, device=self.device)

    def step(self, step: int) -> dict[str, float]:
        """Run one optimiser step and return the whole batch's losses by name."""
        accelerator, options = self.accelerator, self.options
        sample, window, anchor = self._draw(step)
        for group in self.muon.param_groups + self.stored.param_groups:
            group["lr"] = learning_rate(step, options)
        losses: Tensor = self.parallel(sample, window, anchor)
        accelerator.backward((losses * self.weights).sum())
        accelerator.clip_grad_norm_(self.parallel.parameters(), options.clip_norm)
        for optimizer in (self.muon, self.stored):
            optimizer.step()
            optimizer.zero_grad()
        self.follow(step)
        return _named(accelerator.reduce(losses.detach(), reduction="mean"))

    def _draw(self, step: int) -> tuple[GeometrySample, Tensor, bool]:
        """A step's batch, which is the same for any number of processes: the share of this one."""
        options, world = self.options, self.accelerator.num_processes
        rng = np.random.default_rng((options.seed, step))
        # As published, every batch has as many frames as the others: few long sequences or many short ones. What a
        # moment shows is learned first, from as many scenes as a batch can hold.
        length = int(rng.choice(self.lengths if step >= _SHORT * options.steps else self.lengths[:-1]))
        rows = rng.choice(len(self.train), options.batch // length)
        starts = rng.integers(self.train.steps - length + 1, size=len(rows))
        window = rng.choice(np.array(options.cache_steps), len(rows))
        # A policy's stream has no anchor, so half of the steps train without: what frames say after step 0 has left
        # the cache. With one, poses and points keep their reference for as long as the stream runs.
        anchor = bool(rng.random() < 0.5)
        # Every sequence in colours of its own, lest the network know a scene, and so its cameras, by its colours.
        channels = rng.permuted(np.tile(np.arange(3), (len(rows), 1)), axis=1)
        light = rng.uniform((0.6, -0.15), (1.4, 0.15), (len(rows), 3, 2)).astype(np.float32)
        mine = slice(self.accelerator.process_index, None, world)
        sample = self.train.take(rows[mine], starts[mine], length)
        sample = sample._replace(images=_recolor(sample.images, channels[mine], light[mine]))
        return sample.to(self.device), torch.from_numpy(window[mine]), anchor

    @torch.no_grad()
    def validate(self, average: GeometryObjective) -> Validation:
        """The mean losses of some held-out sequences, seen through the longest cache."""
        rows = np.arange(min(_VALIDATION_SEQUENCES, len(self.held_out)))
        sums = torch.zeros(len(LOSSES), device=self.device)
        for some in np.array_split(rows, -(-len(rows) // 4)):
            window = torch.full((len(some),), max(self.options.cache_steps))
            with self.accelerator.autocast():
                sums += len(some) * average(self.held_out.take(some).to(self.device), window, False)
        return Validation(_named(sums / len(rows)), None)


def train_geometry(run: GeometryRun, report: Callable[[Report], None]) -> Table:
    """Train ``geometry-nano``, write its checkpoint and return its errors on held-out scenes.

    Raises
    ------
    EpisodeError
        No sequences.
    ValueError
        ``run.out`` is finished already, or the batch can't be shared.
    """
    run.begin()
    train, held_out = load_samples(run)
    config = PRESETS["geometry-nano"]()

    # Complete only with the card.
    result = run.result_file.with_suffix(".partial")

    def keep(line: Report) -> None:
        run.log(line)
        report(line)
        if line.final:
            result.write_text(json.dumps(asdict(line)))

    def work() -> None:
        trainer = GeometryTrainer(GeometryObjective(_build(config, run.options.seed, train)), train, held_out, run)
        average = trainer.run(run.folder, keep)
        if average is not None:
            save_geometry(average.net, run.out, "")
        trainer.accelerator.wait_for_everyone()

    run_processes(work, run.used_processes, run.folder)
    last = Report.from_json(json.loads(result.read_text()))
    table = measure_checkpoint(run, train, held_out)
    (run.out / "card.md").write_text(_card(run, last, table, len(train), len(held_out)), encoding="utf-8")
    result.replace(run.result_file)
    (run.folder / STATE).unlink()
    return table


def measure_checkpoint(
    run: GeometryRun, train: SequenceSamples | None = None, held_out: SequenceSamples | None = None
) -> Table:
    """The errors of the checkpoint ``run.out`` on the held-out scenes, beside those of its untrained start."""
    net = load_geometry(run.out)
    if train is None or held_out is None:
        train, held_out = load_samples(run)
    device, cache_steps = run.used_device, max(run.options.cache_steps)
    table = {
        TRIVIAL + name: errors for name, errors in TrivialPredictor.fit(train).measure(held_out, cache_steps).items()
    }
    untrained = _build(net.config, run.options.seed, train).eval()
    for name, network in ((UNTRAINED, untrained), (TRAINED, net)):
        table[name] = measure(network.to(device), held_out, cache_steps)
    return table


def load_samples(run: GeometryRun) -> tuple[SequenceSamples, SequenceSamples]:
    """Training and held-out sequences: the last shards are held out. Every sequence is a scene of its own."""
    assert run.rendered is not None
    train, held_out = hold_out(list_files(run.rendered, "sequences"))
    return SequenceSamples(train, run.contract), SequenceSamples(held_out, run.contract)


def _build(config: GeometryConfig, seed: int, train: SequenceSamples) -> GeometryTransformer:
    """A network with random weights from ``seed``, whose tokens say from the first step on what is where.

    As DINOv2 starts, position embeddings are thirty times smaller than what pixels give, and of that nine tenths is
    brightness, which a short run hardly gets past. So rows and columns start as sines and cosines (as
    in MAE), and patches as the whitened principal components of the training images' patches, which then stay as they
    are (MoCo v3 keeps the projection, too: training is steadier).
    """
    torch.manual_seed(seed)
    net = GeometryTransformer(config)
    side, dim = config.encoder.position_grid, config.dim
    frequency = 100.0 ** -(torch.arange(dim // 4) / (dim // 4))
    row, column = torch.cartesian_prod(torch.arange(side), torch.arange(side))[..., None].unbind(1)
    angles = torch.cat([row * frequency, column * frequency], dim=1)
    frames = torch.from_numpy(train.images[:_WHITENING_SEQUENCES, ::3]).flatten(0, 2).movedim(-1, 1).float() / 255
    with torch.no_grad():
        net.aggregator.patch_embed.pos_embed[0, 1:] = torch.cat([angles.sin(), angles.cos()], dim=1)
        _whiten(net, frames)
    return net


def _whiten(net: GeometryTransformer, frames: Tensor) -> None:
    """Set the patch projection to the principal components of the patches of ``frames`` [n, 3, h, w], and keep it."""
    aggregator, size = net.aggregator, net.config.patch_size
    project = aggregator.patch_embed.patch_embed.proj.requires_grad_(False)
    normal = (frames - aggregator._mean) / aggregator._std
    patches = F.unfold(normal, size, stride=size).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(dim=0)
    variance, axes = torch.linalg.eigh((patches - mean).T.double() @ (patches - mean).double() / len(patches))
    order = variance.argsort(descending=True)[: net.config.dim]
    weight = (axes[:, order] / (variance[order] + _WHITENING_FLOOR).sqrt()).T.float() / math.sqrt(2)
    project.weight.copy_(weight.view_as(project.weight))
    assert project.bias is not None
    project.bias.copy_(-weight @ mean)


def _recolor(images: Tensor, channels: NDArray[np.integer], light: NDArray[np.float32]) -> Tensor:
    """Images [b, t, v, 3, h, w] with each sequence's channels [b, 3] in another order, times + light [b, 3, 2]."""
    mixed = torch.stack([frames[:, :, order] for frames, order in zip(images, channels, strict=True)])
    gain, offset = torch.from_numpy(light)[:, None, None, :, None, None].unbind(-1)
    return (mixed * gain + offset).clamp(0, 1)


def _optimizers(objective: GeometryObjective, options: TrainOptions) -> tuple[torch.optim.Muon, torch.optim.AdamW]:
    """Muon for the matrices inside the network, AdamW for all else: in trials of 80 steps, better than AdamW for all.

    They share one state, which is what a resumed run needs.
    """
    trained = [p for p in objective.parameters() if p.requires_grad]
    inner = {id(p) for p in trained if p.ndim == 2 and min(p.shape) >= _MATRIX}
    rate, decay = options.learning_rate, options.weight_decay
    muon = torch.optim.Muon(
        [p for p in trained if id(p) in inner],
        lr=rate,
        weight_decay=decay,
        momentum=0.9,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(
        [p for p in trained if id(p) not in inner], lr=rate, weight_decay=decay, betas=options.betas, fused=True
    )
    muon.state = adamw.state
    return muon, adamw


def _named(losses: Tensor) -> dict[str, float]:
    return dict(zip(LOSSES, losses.tolist(), strict=True))


def _card(run: GeometryRun, last: Report, table: Table, train: int, held_out: int) -> str:
    options = run.options
    caches, lengths = (", ".join(map(str, numbers)) for numbers in (options.cache_steps, run.lengths))
    lines = [
        f"# {run.out.name}",
        "",
        "A small 4D geometry transformer, trained from random weights on MuJoCo's true depth and camera poses: the",
        "teacher of the small policies. Lengths are metres; views are read wrist first, front last.",
        "",
        f"- robot: {run.contract.robot}",
        f"- data: {train} rendered sequences; layout, heights, textures, colours, light, front camera and motion are",
        f"  each sequence's own. {held_out} more are held out.",
        f"- steps: {last.step} of {options.batch} policy steps in sequences of {lengths}, seed {options.seed}",
        f"  (the first {_SHORT:.0%} of the run without the longest)",
        f"- temporal cache: {caches} steps, drawn per sequence; half of the steps with an anchor",
        f"- learning rate {options.learning_rate:g}, precision {options.precision}, averaged weights",
        f"- seconds: {last.seconds:.0f} in {run.used_processes} processes on {run.used_device}",
        f"- written {time.strftime('%Y-%m-%d', time.gmtime())}",
        "",
        *table_lines(table),
        "",
        f"Held-out scenes, with a cache of {max(options.cache_steps)} steps and no anchor. Poses and points are",
        "relative to the first frame, over the steps that still see it. The training set's means and medians are the",
        "same whatever the image.",
        "",
        f"{margins_line(table)}.",
        "",
        "Again: `swiftvla train-geometry OUT`; the table: `swiftvla train-geometry OUT --eval-only`.",
    ]
    return "\n".join(lines) + "\n"
