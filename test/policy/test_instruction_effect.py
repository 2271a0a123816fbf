# SPDX-License-Identifier: Apache-2.0
"""From an instruction to the first command that followed it."""

from swiftvla_ros.policy.inference_thread import Instruction
from swiftvla_ros.policy.instruction_effect import EffectWatch

PICK, TOUCH = Instruction("pick", 1), Instruction("touch", 2)


def test_an_effect_is_told_once_and_by_the_first_command_of_its_own_chunks() -> None:
    """Protects the acknowledgement: chunks of older words, or of a policy that was restarted, are no effect."""
    watch = EffectWatch(compares=False)
    watch.accept(PICK, 100)
    watch.followed(7000, 90, 95)
    assert watch.computed(PICK, 110)
    assert not watch.computed(PICK, 120)
    # What is followed was seen before the first chunk with these words, whatever its number.
    watch.followed(7000, 109, 130)
    assert watch.untold() is None
    watch.followed(1, 110, 0)
    assert watch.effect_ns(PICK) == 0
    watch.followed(2, 120, 150)
    watch.followed(3, 130, 160)
    effect = watch.untold()
    assert effect is not None
    assert (effect.command_ns, effect.chunk_id, effect.chunk_stamp_ns) == (150, 2, 120)
    assert watch.effect_ns(PICK) == 150
    assert watch.untold() is None
    watch.accept(TOUCH, 200)
    assert not watch.computed(PICK, 210)
    assert watch.effect_ns(PICK) == 0


def test_a_comparison_is_waited_for_and_its_failure_is_not_waited_for_for_ever() -> None:
    """Protects the probe of words: told with the effect, and left out where it could not be computed."""
    watch = EffectWatch(compares=True)
    for instruction, distance, said in ((PICK, 0.25, "would differ by 250 mrad"), (TOUCH, float("inf"), "")):
        watch.accept(instruction, 0)
        watch.computed(instruction, 10)
        watch.followed(1, 10, 500_000_000)
        assert watch.untold() is None
        watch.compared(instruction, distance)
        effect = watch.untold()
        assert effect is not None
        assert effect.text.endswith(said or "0.50 s after it was accepted")
