# SPDX-License-Identifier: Apache-2.0
"""Loads an exported dataset with LeRobot itself and compares every frame with the bags.

LeRobot needs other packages than this project, so there are two steps, each with its own Python:

    python benchmarks/load_in_lerobot.py truth BAGS truth.npz [CONTRACT]
    HF_HUB_OFFLINE=1 LEROBOT_PYTHON benchmarks/load_in_lerobot.py check truth.npz DATASET

Exit code 1 if a number differs by more than 1e-5 or an image by more than 4 of 255 on average.
"""

import sys

import numpy as np

_NUMBERS, _IMAGES = 1e-5, 4.0


def truth(bags: str, file: str, robot: str = "so101_sim") -> int:
    """Write what the bags hold into a file that LeRobot's Python can read."""
    from pathlib import Path

    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.episodes.datasets.bag_listing import open_bags
    from swiftvla_ros.episodes.datasets.lerobot_part import even_part

    contract = load_contract(robot)
    parts = [even_part(handle.load(), contract.policy.step_s)[0] for handle in open_bags(Path(bags), contract).episodes]
    episodes = [part for part in parts if part is not None]
    arrays = {f"observation.images.{c}": np.concatenate([e.images[c] for e in episodes]) for c in contract.camera_names}
    arrays |= {key: np.concatenate([getattr(e, key.split(".")[-1]) for e in episodes])
               for key in ("observation.state", "action")}  # fmt: skip
    chosen = {name: f"observation.stamp.{name}" for name in (*contract.camera_names, "state", "action")}
    arrays |= {key: np.concatenate([e.chosen_s[name] for e in episodes]) for name, key in chosen.items()}
    arrays["task"] = np.concatenate([[e.instruction] * len(e.state) for e in episodes])
    np.savez(file, **arrays)
    return 0


def check(file: str, dataset: str) -> int:
    """Load the dataset with LeRobot and compare; returns the exit code."""
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # A torchvision built for another torch: loading data needs none of its operators, but their names.
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    loaded = LeRobotDataset("local/bags", root=dataset, video_backend="pyav")
    expected = np.load(file)
    if len(loaded) != len(expected["action"]):
        print(f"{len(loaded)} frames, {len(expected['action'])} in the bags")
        return 1
    worst = dict.fromkeys(expected.files, 0.0)
    for index in range(len(loaded)):
        frame = loaded[index]
        worst["task"] = max(worst["task"], float(frame["task"] != str(expected["task"][index])))
        for key in expected.files:
            if key == "task" or ".stamp" in key:
                continue
            value, true = frame[key].numpy(), expected[key][index]
            off = np.abs(value.transpose(1, 2, 0) * 255 - true).mean() if true.ndim == 3 else np.abs(value - true).max()
            worst[key] = max(worst[key], float(off))
    # LeRobot's tensors are float32, which is too coarse for stamps; its table has them whole.
    table = loaded.hf_dataset.with_format("arrow")[:]
    for key in (name for name in expected.files if ".stamp" in name):
        worst[key] = float(np.abs(table[key].to_numpy() - expected[key]).max())
    for key, off in worst.items():
        print(f"{key}: off by {off:.3g} at most" + (" of 255, on average over an image" if "images" in key else ""))
    print(f"LeRobot read {len(loaded)} frames of {loaded.num_episodes} episodes")
    return int(any(off > (_IMAGES if "images" in key else _NUMBERS) for key, off in worst.items()))


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5) or sys.argv[1] not in ("truth", "check"):
        sys.exit(__doc__)
    sys.exit({"truth": truth, "check": check}[sys.argv[1]](*sys.argv[2:]))
