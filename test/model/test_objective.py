# SPDX-License-Identifier: Apache-2.0
"""What trains the network: losses, modality masking, reconstruction, the trajectory head."""

import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from swiftvla_ros.model.config import GeometryBranchConfig, swiftvla_nano
from swiftvla_ros.model.fusion import Keypoints, TrajectoryHead
from swiftvla_ros.model.objective import LOSSES, Auxiliary, Losses, Objective, TrainingSample, draw_masks
from swiftvla_ros.model.prefix import Modality
from swiftvla_ros.model.swiftvla import ModelInput, SwiftVLA

Draw = Callable[..., ModelInput]
FEATURES = 32


@pytest.fixture(scope="module")
def objective() -> Objective:
    """Return a nano network with a 4D branch, random weights."""
    torch.manual_seed(0)
    config = dataclasses.replace(swiftvla_nano(), geometry=GeometryBranchConfig(dim=FEATURES, tokens=16, align_layer=2))
    return Objective(SwiftVLA(config), Auxiliary(config))


@pytest.fixture
def sample(inputs: Draw) -> TrainingSample:
    """Return a batch of four: 2D masked, 4D masked, nothing masked, no 4D features at all."""
    g = torch.Generator().manual_seed(5)
    return TrainingSample(
        inputs=inputs(batch=4),
        actions=torch.randn((4, 10, 6), generator=g),
        row_valid=torch.ones((4, 10), dtype=torch.bool),
        keypoint_uv=torch.rand((4, 7, 2), generator=g),
        keypoint_valid=torch.ones((4, 7), dtype=torch.bool),
        noise=torch.randn((4, 2, 10, 6), generator=g),
        time=torch.rand((4, 2), generator=g),
        delay=torch.zeros((4, 2), dtype=torch.long),
        geometry=torch.randn((4, 16, FEATURES), generator=g),
        has_geometry=torch.tensor([True, True, True, False]),
        mask_2d=torch.tensor([True, False, False, False]),
        mask_4d=torch.tensor([False, True, False, False]),
    )


def only(name: str) -> torch.Tensor:
    """Return weights that leave one loss."""
    return torch.tensor([float(name == loss) for loss in LOSSES])


def gradients(objective: Objective, losses: Losses, name: str) -> dict[str, torch.Tensor]:
    """Return the gradients of one loss, by parameter name; those that it doesn't reach are left out."""
    objective.zero_grad()
    losses.total(only(name)).backward()
    return {n: p.grad for n, p in objective.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_all_losses_train_every_part(objective: Objective, sample: TrainingSample) -> None:
    """Protects the network described: every parameter of policy and auxiliary modules gets a gradient."""
    objective.zero_grad()
    objective(sample).total(torch.ones(len(LOSSES))).backward()
    assert [n for n, p in objective.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_reaches_the_backbone(objective: Objective, sample: TrainingSample, loss: str) -> None:
    """Protects the transfer of knowledge: each loss alone trains the text layers that read the prefix."""
    found = gradients(objective, objective(sample), loss)
    assert "policy.backbone.text_model.layers.0.self_attn.q_proj.weight" in found


def test_action_loss_alone_reaches_fusion_tokens(objective: Objective, sample: TrainingSample) -> None:
    """Protects the expert's view of the Fusion Tokens: they condition the chunk."""
    assert "policy.fusion.tokens" in gradients(objective, objective(sample), "action")


def test_action_loss_reaches_fusion_tokens_without_guide(sample: TrainingSample) -> None:
    """Protects the paper's path: the Fusion Tokens' keys and values alone condition the chunk, too."""
    nano = swiftvla_nano()
    assert nano.fusion is not None
    config = dataclasses.replace(nano, fusion=dataclasses.replace(nano.fusion, guides_expert=False))
    bare = Objective(SwiftVLA(config), Auxiliary(config))
    assert "policy.fusion.tokens" in gradients(bare, bare(sample._replace(geometry=None)), "action")


def test_masked_4d_equals_absent_4d(objective: Objective, sample: TrainingSample) -> None:
    """Protects what is deployed: a sample whose 4D is masked gives the chunk of a network without a 4D branch."""
    policy = objective.policy.eval()
    observation = sample.inputs
    noise = torch.randn((4, 10, 6), generator=torch.Generator().manual_seed(7))
    assert sample.geometry is not None
    masked = objective.auxiliary.geometry_tokens(sample.geometry, torch.zeros(4, dtype=torch.bool))
    features = policy.backbone.vision_features(observation.images)
    with_columns = policy.embed_prefix(observation, features, masked)
    without = policy.embed_prefix(observation, features)
    assert with_columns.embeddings.shape[1] == without.embeddings.shape[1] + 16
    positions = with_columns.positions[with_columns.present].view(4, -1)
    assert torch.equal(positions, without.positions[without.present].view(4, -1))
    chunk = policy.sample_actions(observation, noise)
    torch.testing.assert_close(policy.sample_actions(observation, noise, masked), chunk, atol=1e-5, rtol=0)
    seen = objective.auxiliary.geometry_tokens(sample.geometry)
    assert (policy.sample_actions(observation, noise, seen) - chunk).abs().max() > 1e-4, "4D tokens are read at all"


def test_4d_tokens_stand_where_the_front_view_shows_the_same(objective: Objective, sample: TrainingSample) -> None:
    """Protects what was learnt without 4D: nothing else moves when 4D comes, with and without images."""
    policy, observation = objective.policy, sample.inputs
    assert sample.geometry is not None
    tokens = objective.auxiliary.geometry_tokens(sample.geometry)
    features = policy.backbone.vision_features(observation.images)
    prefix = policy.embed_prefix(observation, features, tokens)
    alone = policy.embed_prefix(observation, features)
    geometry = prefix.columns(Modality.GEOMETRY)
    others = torch.ones(prefix.present.shape[1], dtype=torch.bool)
    others[geometry] = False
    assert torch.equal(prefix.positions[:, others], alone.positions)
    assert torch.equal(prefix.next_position, alone.next_position)
    # 4 × 4 tokens of 4D over 6 × 6 of the image, which is the first of the prefix.
    rows = [0, 2, 3, 5]
    assert prefix.positions[0, geometry].tolist() == [6 * row + column for row in rows for column in rows]
    blind = policy.embed_prefix(observation, features, tokens, image_present=torch.zeros(4, dtype=torch.bool))
    assert torch.equal(blind.positions[:, geometry.start :], prefix.positions[:, geometry.start :])


def test_masked_2d_is_not_seen(objective: Objective, sample: TrainingSample) -> None:
    """Protects the 2D mask: what the cameras show changes neither the action loss nor the regression."""
    masked = sample._replace(mask_2d=torch.tensor([True, True, True, False]), mask_4d=torch.zeros(4, dtype=torch.bool))
    images = masked.inputs.images.clone()
    images[:3] = 1 - images[:3]
    other = masked._replace(inputs=masked.inputs._replace(images=images))
    ours, theirs = objective(masked), objective(other)
    torch.testing.assert_close(ours.sums[:2], theirs.sums[:2])
    assert not torch.allclose(ours.sums[2], theirs.sums[2]), "the images remain the target"


def test_only_what_is_masked_is_reconstructed(objective: Objective, sample: TrainingSample) -> None:
    """Protects eq. 7: one sample counts for 2D and one for 4D, and features that are visible don't matter."""
    losses = objective(sample)
    assert torch.equal(losses.counts, objective.count(sample))
    assert losses.counts[2:4].tolist() == [1.0, 1.0]
    assert sample.geometry is not None
    masked = sample._replace(mask_2d=torch.zeros(4, dtype=torch.bool), mask_4d=torch.tensor([True] * 4))
    assert objective(masked).counts[2:4].tolist() == [0.0, 3.0], "a sample without 4D features reconstructs none"
    blind = sample._replace(mask_2d=torch.tensor([True] * 4), mask_4d=torch.zeros(4, dtype=torch.bool))
    assert objective(blind).counts[2:4].tolist() == [3.0, 0.0], "without 4D features, 2D stays visible"


def test_alignment_asks_the_layers_below_it(objective: Objective, sample: TrainingSample) -> None:
    """Protects Spatial Forcing's loss: samples with images and features count, and layers up to its own are asked."""
    losses = objective(sample)
    assert losses.counts[4] == 2
    assert 0 < losses.sums[4] / 2 < 2
    found = gradients(objective, losses, "alignment")
    assert "auxiliary.alignment.project.3.weight" in found
    assert "policy.backbone.text_model.layers.1.mlp.down_proj.weight" in found
    assert "policy.backbone.text_model.layers.2.self_attn.q_proj.weight" not in found, "layers behind it are not asked"


def test_a_kept_tower_is_the_target_that_does_not_move(objective: Objective, sample: TrainingSample) -> None:
    """Protects the 2D target where the vision tower is trained: another tower of the policy's changes nothing of it."""
    images = sample.inputs.images
    kept = copy.deepcopy(objective.policy.backbone.vision_model)
    trained = Objective(copy.deepcopy(objective.policy), objective.auxiliary)
    trained.reconstruct_of(kept)
    before = objective.policy.backbone.vision_features(images)
    with torch.no_grad():
        for weight in trained.policy.backbone.vision_model.parameters():
            weight.mul_(1.5)
    features = trained.policy.backbone.vision_features(images)
    assert not torch.allclose(features, before)
    torch.testing.assert_close(trained.target_features(images, features), before)
    assert not [name for name in trained.state_dict() if "target" in name], "no checkpoint holds it"


def test_targets_carry_no_gradient(objective: Objective, sample: TrainingSample) -> None:
    """Protects against collapse: reconstruction can't be made easier by changing what is to be reconstructed."""
    assert sample.geometry is not None
    geometry = sample.geometry.clone().requires_grad_()
    everything_masked = sample._replace(geometry=geometry, mask_4d=torch.tensor([False, True, True, True]))
    found = gradients(objective, objective(everything_masked), "reconstruct_2d")
    assert not [n for n in found if "vision_model" in n], "the only path to the tower would be the target"
    objective.zero_grad()
    objective(everything_masked).total(only("reconstruct_4d")).backward()
    assert geometry.grad is not None
    assert geometry.grad[1:].abs().max() == 0


def test_standardized_targets(objective: Objective) -> None:
    """Protects the loss's scale: fitted features have mean 0 and deviation 1 in every channel."""
    features = torch.randn((8, 16, FEATURES)) * torch.linspace(0.1, 30, FEATURES) + 5
    standardize = objective.auxiliary.standardize_4d
    standardize.fit(features)
    flat = standardize(features).flatten(0, 1)
    torch.testing.assert_close(flat.mean(dim=0), torch.zeros(FEATURES), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat.std(dim=0), torch.ones(FEATURES), atol=1e-3, rtol=0)


def test_masks_are_never_both_and_ramp_up() -> None:
    """Protects the draw: shares as configured, no sample loses both, 2D masking begins near zero."""
    config = GeometryBranchConfig(dim=8, p_mask_4d=0.5, p_mask_2d=0.2, mask_2d_ramp_steps=100)
    rng = np.random.default_rng(0)
    mask_2d, mask_4d = draw_masks(config, 20_000, rng, step=100)
    assert not (mask_2d & mask_4d).any()
    assert mask_2d.mean() == pytest.approx(0.2, abs=0.01)
    assert mask_4d.mean() == pytest.approx(0.5, abs=0.01)
    early, _ = draw_masks(config, 20_000, rng, step=0)
    assert early.mean() < 0.01


def test_impossible_masks_are_refused() -> None:
    """Protects the config: shares that add up to more than every sample are named."""
    with pytest.raises(ValueError, match=r"p_mask_4d 0\.7 and p_mask_2d 0\.4"):
        GeometryBranchConfig(dim=8, p_mask_4d=0.7, p_mask_2d=0.4)


def test_losses_of_parts_make_the_whole(objective: Objective, sample: TrainingSample) -> None:
    """Protects several processes: halves that are weighed by the whole batch's counts give the whole batch's loss."""

    def part(rows: slice) -> TrainingSample:
        cut = {k: v[rows] for k, v in sample._asdict().items() if isinstance(v, torch.Tensor)}
        return sample._replace(**cut, inputs=ModelInput(*(x[rows] for x in sample.inputs)))

    whole, halves = objective(sample), [objective(part(slice(0, 1))), objective(part(slice(1, 4)))]
    weights = torch.tensor([1.0, 0.5, 0.1, 0.2, 0.3])
    total = sum(half.total(weights, whole.counts) for half in halves)
    torch.testing.assert_close(total, whole.total(weights), atol=1e-4, rtol=1e-5)


def test_rows_that_are_not_valid_do_not_count(objective: Objective, sample: TrainingSample) -> None:
    """Protects training from disturbances: what a masked row holds changes nothing."""
    valid = torch.ones((4, 10), dtype=torch.bool)
    valid[:, 4:] = False
    actions = sample.actions.clone()
    actions[:, 4:] = 1e3
    # Causal action tokens: rows after the valid ones can't reach them.
    losses = [objective(sample._replace(row_valid=valid, actions=a)) for a in (sample.actions, actions)]
    torch.testing.assert_close(losses[0].sums[0], losses[1].sums[0])


def test_executed_rows_are_seen_clean_and_not_learned(objective: Objective, sample: TrainingSample) -> None:
    """Protects the training for delays: executed rows reach the network without noise, and no loss asks for them."""
    quiet = sample._replace(mask_2d=torch.zeros(4, dtype=torch.bool))
    delayed = quiet._replace(delay=torch.tensor([[3, 0]]).expand(4, 2))
    noise = delayed.noise.clone()
    noise[:, 0, :3] += 10.0
    losses = [objective(delayed._replace(noise=n)).sums[0] for n in (delayed.noise, noise)]
    torch.testing.assert_close(losses[0], losses[1])
    assert objective.count(delayed)[0] == 4 * (10 + 7)
    # What was executed is read: other rows, another continuation.
    actions = delayed.actions.clone()
    actions[:, :3] += 1.0
    undelayed = torch.zeros((4, 10), dtype=torch.bool)
    undelayed[:, 3:] = True
    changed = [objective(delayed._replace(actions=a, row_valid=undelayed)).sums[0] for a in (delayed.actions, actions)]
    assert (changed[0] - changed[1]).detach().abs() > 1e-3


@pytest.fixture
def head() -> TrajectoryHead:
    """Return a nano's trajectory head."""
    config = swiftvla_nano()
    assert config.fusion is not None
    return TrajectoryHead(config, config.fusion)


def test_trajectory_head_points_where_it_is_told(head: TrajectoryHead) -> None:
    """Protects the head's geometry: the loss is least, and the expected point right, when the target's cell wins."""
    target = torch.tensor([[[0.30, 0.70]]])
    cells = head.cells
    index = int(0.70 * cells) * cells + int(0.30 * cells)
    logits = torch.full((1, 1, cells * cells), -5.0)
    logits[..., index] = 5.0
    uv = head._expected(logits)
    assert (uv - target).abs().max().item() < 0.5 / cells + 1e-3
    valid, front = torch.ones((1, 1), dtype=torch.bool), torch.ones(1, dtype=torch.bool)
    waves = torch.zeros((1, 1, 20))
    right = head.loss(Keypoints(logits, uv, waves), target, valid, front)
    wrong = head.loss(Keypoints(logits.flip(-1), uv, waves), target, valid, front)
    assert right.item() < wrong.item()
    outside = head.loss(Keypoints(logits, uv, waves), torch.tensor([[[1.4, 0.2]]]), valid, front)
    assert outside.item() == 0


def test_regression_is_right_where_its_waves_are(head: TrajectoryHead) -> None:
    """Protects eq. 6: without a front view the regression alone counts, and is 0 for the target's own coordinates."""
    target = torch.tensor([[[0.30, 0.70]]])
    phase = (target[..., None] * head.frequencies).flatten(-2)
    waves = torch.cat([phase.sin(), phase.cos()], dim=-1)
    logits = torch.randn((1, 1, head.cells**2))
    valid, blind = torch.ones((1, 1), dtype=torch.bool), torch.zeros(1, dtype=torch.bool)
    loss = head.loss(Keypoints(logits, target, waves), target, valid, blind)
    assert loss.item() == pytest.approx(0, abs=1e-9)


def test_front_camera_is_the_one_pointed_into(objective: Objective, sample: TrainingSample) -> None:
    """Protects the choice of view: with another front camera the keypoints read other tokens."""
    policy, auxiliary = objective.policy, objective.auxiliary
    other = Auxiliary(dataclasses.replace(policy.config, front_camera=1))
    other.load_state_dict(auxiliary.state_dict())
    prefix = policy.embed_prefix(sample.inputs, policy.backbone.vision_features(sample.inputs.images))
    _, hidden = policy.condition(prefix)
    first, second = auxiliary.keypoints(prefix, hidden), other.keypoints(prefix, hidden)
    assert not torch.allclose(first.logits, second.logits)
