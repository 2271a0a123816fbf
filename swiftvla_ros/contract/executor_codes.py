# SPDX-License-Identifier: Apache-2.0
"""What the executor does, why, and why it refuses a chunk; and what becomes of a task.

Numbers as in ``msg/ExecutorState.msg``, and :class:`TaskVerdictCode` as in ``msg/TaskVerdict.msg``.
"""

from __future__ import annotations

from enum import IntEnum


class Mode(IntEnum):
    """The executor's modes, from first to last when chunks stop, and the latched stop beside them."""

    IDLE = 0
    FRESH = 1
    TAIL = 2
    DECELERATING = 3
    HOLD = 4
    RELEASED = 5
    STOPPED = 6


class Reason(IntEnum):
    """Why the executor is in its mode."""

    NONE = 0
    NO_MEASURED_STATE = 1
    NO_CHUNK = 2
    CHUNK = 3
    CHUNK_LATE = 4
    ROWS_EXHAUSTED = 5
    STOP_REQUESTED = 6
    EMERGENCY_STOP = 7
    DEACTIVATED = 8
    CLOCK_JUMP = 9
    STATE_STALE = 10
    STATE_INVALID = 11
    TRACKING_ERROR = 12
    HOLD_TIMEOUT = 13
    RESET = 14
    JOINT_FROZEN = 15
    PAUSED = 16
    NOT_ARMED = 17
    TAKEN_OVER = 18


class Refusal(IntEnum):
    """Why a chunk was refused. A refused chunk changes nothing."""

    NONE = 0
    NON_FINITE = 1
    WRONG_SHAPE = 2
    WRONG_JOINTS = 3
    FUTURE_STAMP = 4
    STALE = 5
    OLDER_THAN_CURRENT = 6
    DUPLICATE = 7
    FAR_FROM_MEASURED = 8
    BAD_STEP = 9
    TOO_LONG = 10
    NOT_READY = 11
    OTHER_CHECKPOINT = 12
    NOT_MONOTONIC = 13
    OPERATOR_HOLDS = 14


class ChunkSource(IntEnum):
    """Whose a chunk is."""

    NONE = 0
    POLICY = 1
    OPERATOR = 2


class TaskVerdictCode(IntEnum):
    """Whether an instruction was carried out."""

    PENDING = 0
    DONE = 1
    WRONG_OBJECT = 2
    FAILED = 3
