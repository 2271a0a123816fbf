# SPDX-License-Identifier: Apache-2.0
"""A runtime of ours as a process that computes chunks when it is told to; the protocol stands in ``answering.py``.

``python swiftvla_runtime.py FOLDER PRECISION THREADS [DEVICE] --checkpoint CHECKPOINT --runtime RUNTIME``: FOLDER has
``inputs_<cameras>.safetensors``. What is timed is what a policy calls, ``infer``, from arrays to an array.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from answering import Arrays, Prepare, answer, command_line, parse
from swiftvla_ros.policy.checkpoint import open_checkpoint
from swiftvla_ros.policy.runtime import NetworkInput, RuntimeOptions, load_runtime
from swiftvla_ros.runtime_registry import RUNTIMES


def main() -> None:
    """Load the runtime, then answer."""
    parser = command_line(__doc__, ["float32", "bfloat16", "int8-vision", "int8-weights"])
    parser.add_argument("--checkpoint", type=Path, required=True, help="for graphs: what `swiftvla export` wrote")
    parser.add_argument("--runtime", required=True, choices=list(RUNTIMES))
    arguments = parse(parser)
    options = RuntimeOptions(arguments.runtime, arguments.device, arguments.precision, arguments.threads)
    runtime = load_runtime(open_checkpoint(arguments.checkpoint), options).runtime

    def prepare(data: Arrays) -> Prepare:
        # What pads the text is lerobot's; ours is given the sentence.
        words = data["text"][data["text_present"]]
        inputs = NetworkInput(data["images"][0], words, data["state"][0])

        def compute() -> NDArray[np.float32]:
            return runtime.infer(inputs, data["noise"][0])

        return compute

    answer(arguments.folder, prepare, {})


if __name__ == "__main__":
    main()
