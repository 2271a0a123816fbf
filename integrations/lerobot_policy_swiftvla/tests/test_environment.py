# SPDX-License-Identifier: Apache-2.0
"""The simulated arm as a Gymnasium environment and in ``lerobot-eval``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from lerobot.configs.policies import PreTrainedConfig
from lerobot.envs.configs import EnvConfig
from lerobot.utils.import_utils import register_third_party_plugins

from exported_dataset import SHIPPED
from lerobot_env_swiftvla import GYM_ID
from swiftvla_ros.contract import Contract
from swiftvla_ros.policy import load_policy
from swiftvla_ros.sim.evaluation.rollout import Conditions, roll_out
from swiftvla_ros.sim.tasks.registry import STANDARD_VERBS, scene_for, tasks_of
from swiftvla_ros.sim.world import SimWorld
from swiftvla_ros.training.importers.lerobot_policy import export_policy

# Both ask for the tasks in the same order where this is a multiple of their number.
FIRST_SEED, EPISODES = 10_002, 12


def test_lerobot_finds_the_plugin() -> None:
    """Protects `--policy.type` and `--env.type`: the distribution's name is one that LeRobot imports."""
    register_third_party_plugins()
    assert "swiftvla" in PreTrainedConfig.get_known_choices()
    assert "swiftvla" in EnvConfig.get_known_choices()


def test_gymnasium_approves_of_it() -> None:
    """Protects everybody who uses it as any other environment: spaces, seeds, steps and pictures are as promised."""
    env = gymnasium.make(GYM_ID)
    check_env(env.unwrapped)
    env.close()


def test_a_seed_is_an_episode_of_swiftvla_eval(contract: Contract) -> None:
    """Protects comparisons: the scene, the words and the pictures of a seed are those of `swiftvla eval`."""
    from swiftvla_ros.sim.evaluation.first_step import first_scene

    env = gymnasium.make(GYM_ID).unwrapped
    for seed in (FIRST_SEED, FIRST_SEED + 4):
        observation, _ = env.reset(seed=seed)
        with SimWorld(contract, seed) as world:
            task = tasks_of(STANDARD_VERBS)[seed % 6]
            scene = first_scene(world, task, np.random.default_rng([seed, 4]))
        assert (env.task, env.task_description) == (task.verb, scene.observation.instruction)
        for name, image in scene.observation.images.items():
            np.testing.assert_array_equal(observation["pixels"][name], image)
    env.close()


def test_another_block_ends_it_and_time_does(contract: Contract) -> None:
    """Protects the reward: only the task that was asked for earns it, and an episode ends by itself."""
    env = gymnasium.make(GYM_ID, timeout_s=0.5)
    env.reset(seed=0)
    ended = [env.step(contract.rest.astype(np.float32))[1:4] for _ in range(5)]
    assert ended == [(0.0, False, False)] * 4 + [(0.0, False, True)]
    env.close()


# OpenGL, which this process has used, does not go on in one that is forked from it.
@pytest.mark.parametrize("vector", [SyncVectorEnv, partial(AsyncVectorEnv, context="forkserver")], ids=["one", "many"])
def test_many_at_once_are_the_same_as_one(vector: Callable[[list], VectorEnv], contract: Contract) -> None:
    """Protects vectorised evaluation: each of several environments is the one of its seed, in processes too."""
    many = vector([lambda: gymnasium.make(f"lerobot_env_swiftvla:{GYM_ID}", disable_env_checker=True)] * 2)
    one = gymnasium.make(GYM_ID, disable_env_checker=True)
    actions = np.tile(contract.rest.astype(np.float32) + 0.05, (2, 1))
    many.reset(seed=[4, 5])
    observations, *_ = many.step(actions)
    assert list(many.call("task_description"))
    for k, seed in enumerate((4, 5)):
        one.reset(seed=seed)
        alone, *_ = one.step(actions[k])
        np.testing.assert_array_equal(observations["agent_pos"][k], alone["agent_pos"])
        np.testing.assert_array_equal(observations["pixels"]["front"][k], alone["pixels"]["front"])
    many.close()
    one.close()


def test_lerobot_eval_does_what_swiftvla_eval_does(
    contract: Contract, tmp_path: Path, lerobot_eval: Callable[..., dict], capsys: pytest.CaptureFixture
) -> None:
    """Protects numbers of LeRobot's users: the shipped policy succeeds in the same scenes there and here."""
    export_policy(SHIPPED, tmp_path / "theirs")
    words = [f"--eval.n_episodes={EPISODES}", "--eval.batch_size=2", f"--seed={FIRST_SEED}"]
    told = lerobot_eval(tmp_path / "theirs", tmp_path / "out", *words, "--eval.use_async_envs=false")
    theirs = [bool(done) for done in told["per_task"][0]["metrics"]["successes"]]
    policy = load_policy(SHIPPED, contract=contract, runtime="torch", device="cpu", threads=1)
    own = []
    for seed in range(FIRST_SEED, FIRST_SEED + EPISODES):
        with SimWorld(contract, scene=scene_for(STANDARD_VERBS)) as world:
            result = roll_out(policy, world, tasks_of(STANDARD_VERBS)[seed % 6], seed, Conditions(latency_s=0.05))
            own.append(result.verdict == "DONE")
    with capsys.disabled():
        print(f"\nlerobot-eval {sum(theirs)}/{EPISODES}, swiftvla eval {sum(own)}/{EPISODES}, same scenes")
        print(f"lerobot  {theirs}\nswiftvla {own}")
    assert len(theirs) == EPISODES
    assert sum(theirs) >= EPISODES * 3 / 4
