# SPDX-License-Identifier: Apache-2.0
"""Scene files of the benchmark's form, made here."""

PLACES = {"target_object_region": (-0.12, -0.24), "other_object_region_0": (0.05, -0.1)} | {
    "other_object_region_1": (-0.15, 0.06),
    "other_object_region_2": (0.1, -0.2),
}
THINGS = ("milk_1", "tomato_sauce_1", "butter_1", "cream_cheese_1")


def scene_text(things: tuple[str, ...] = THINGS, target: str = "milk_1") -> str:
    """One in which the things stand in the regions in their order, beside a basket."""
    regions = "".join(
        f"({name}\n (:target floor)\n (:ranges (\n ({x - 0.025} {y - 0.025} {x + 0.025} {y + 0.025})\n)\n)\n)\n"
        for name, (x, y) in {**PLACES, "bin_region": (0.0, 0.26)}.items()
    )
    placed = "".join(f"(On {thing} floor_{region})\n" for thing, region in zip(things, PLACES, strict=True))
    words = target.removesuffix("_1").replace("_", " ")
    return (
        f"(define (problem LIBERO_Floor_Manipulation)\n(:domain robosuite)\n"
        f"(:language Pick the {words} and place it in the basket)\n(:regions\n{regions}"
        "(contain_region\n (:target basket_1)\n)\n)\n"
        f"(:obj_of_interest\n {target}\n basket_1\n)\n(:init\n{placed}(On basket_1 floor_bin_region)\n)\n"
        f"(:goal\n(And (In {target} basket_1_contain_region))\n)\n)\n"
    )
