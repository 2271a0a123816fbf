# SPDX-License-Identifier: Apache-2.0
# The nodes for a Jetson, without torch: docs/jetson.md. Written without a Jetson or Docker at hand: never built yet.
# From the repository's root, on the Jetson (only what is committed goes in):
#
#   JetPack 6:  git archive HEAD | docker build -f docker/jetson.Dockerfile -t swiftvla_ros -
#   JetPack 7:  … --build-arg BASE=ubuntu:24.04 --build-arg ROS_DISTRO=jazzy …
#   its GPU:    … --build-arg BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0 --build-arg RUNTIME=onnxruntime-gpu \
#                 --build-arg INDEX=https://pypi.jetson-ai-lab.io/jp6/cu126 …
#
#   docker run --rm -it --network host --ipc host --ulimit rtprio=99 --cap-add SYS_NICE --runtime nvidia swiftvla_ros \
#     swiftvla up --robot so101 --shadow
ARG BASE=ubuntu:22.04
FROM ${BASE}
ARG ROS_DISTRO=humble
# onnxruntime, onnxruntime-gpu or openvino
ARG RUNTIME=onnxruntime
# Searched beside PyPI for the runtime.
ARG INDEX=https://pypi.org/simple
ENV ROS_DISTRO=${ROS_DISTRO} LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]

RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && \
    curl -fsSL https://raw.githubusercontent.com/ros/rosdistro/master/ros.key -o /usr/share/keyrings/ros.gpg && \
    echo "deb [signed-by=/usr/share/keyrings/ros.gpg] http://packages.ros.org/ros2/ubuntu \
    $(. /etc/os-release && echo "$UBUNTU_CODENAME") main" >/etc/apt/sources.list.d/ros2.list && \
    apt-get update && apt-get install -y --no-install-recommends ros-${ROS_DISTRO}-ros-base g++ cmake \
    python3-colcon-common-extensions python3-rosdep python3-venv python3-dev && rm -rf /var/lib/apt/lists/*

WORKDIR /ws
COPY package.xml requirements-robot.txt src/swiftvla_ros/
RUN apt-get update && (rosdep init || true) && rosdep update --rosdistro ${ROS_DISTRO} && \
    rosdep install --from-paths src --ignore-src -y --rosdistro ${ROS_DISTRO} && rm -rf /var/lib/apt/lists/*
# numpy<2 again, so that the runtime does not bring a newer one.
RUN python3 -m venv --system-site-packages .venv && touch .venv/COLCON_IGNORE && \
    .venv/bin/pip install --no-cache-dir -r src/swiftvla_ros/requirements-robot.txt 'tokenizers>=0.22' && \
    .venv/bin/pip install --no-cache-dir --extra-index-url "${INDEX}" 'numpy<2' "${RUNTIME}"
COPY . src/swiftvla_ros/
RUN . .venv/bin/activate && . /opt/ros/${ROS_DISTRO}/setup.bash && python3 -m colcon build && \
    . install/setup.bash && swiftvla check-contract so101_sim

RUN printf '%s\n' '#!/bin/bash' 'set -e' '. /ws/.venv/bin/activate' '. /opt/ros/$ROS_DISTRO/setup.bash' \
    '. /ws/install/setup.bash' 'exec "$@"' >/entrypoint.sh && chmod +x /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["swiftvla", "doctor"]
