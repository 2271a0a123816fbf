# SPDX-License-Identifier: Apache-2.0
"""What putting a block on the plate or into the bowl is called, with ``{o}`` where the object stands, once."""

from __future__ import annotations

from swiftvla_ros.sim.wording.parts import Parts, calibration, lines

# `{d}` is the dish, `{on}` and `{onto}` the words that go with it.
_SAID = Parts(
    lines("""
        put {o} {on} {d}
        put {o} {onto} {d}
        put down {o} {on} {d}
        place {o} {on} {d}
        place {o} {onto} {d}
        set {o} {on} {d}
        set {o} down {on} {d}
        lay {o} {on} {d}
        lay {o} down {on} {d}
        move {o} {onto} {d}
        move {o} to {d}
        move {o} over to {d}
        bring {o} to {d}
        bring {o} over to {d}
        carry {o} to {d}
        carry {o} over {onto} {d}
        take {o} to {d}
        transfer {o} to {d}
        transfer {o} {onto} {d}
        shift {o} {onto} {d}
        drop {o} {on} {d}
        drop {o} {onto} {d}
        drop off {o} {on} {d}
        get {o} {onto} {d}
        lower {o} {onto} {d}
        lift {o} {onto} {d}
        rest {o} {on} {d}
        pick up {o} and put it {on} {d}
        pick {o} up and place it {on} {d}
        pick up {o} and drop it {onto} {d}
        take {o} and place it {on} {d}
        take {o} and put it {onto} {d}
        grab {o} and put it {on} {d}
        lift {o} and set it down {on} {d}
        fetch {o} and lay it {on} {d}
        grasp {o} and move it to {d}
        get {o} and put it {on} {d}
        let {o} go over {d}
        let go of {o} {on} {d}
        release {o} {on} {d}
        {on} {d} goes {o}
        {o} goes {onto} {d}
        {o} should be {on} {d}
        {o} belongs {on} {d}
        have {o} put {on} {d}
        make {o} sit {on} {d}
        add {o} to {d}
        position {o} {on} {d}
        tidy {o} away {onto} {d}
        hand {o} over to {d}
        send {o} to {d}
        i want {o} {on} {d}
        put {d} under {o}
        use {d} for {o}
        {on} {d}, put {o}
        stow {o} {on} {d}
        slide {o} {onto} {d}
        load {o} {onto} {d}
        toss {o} {onto} {d}
        pop {o} {on} {d}
        dump {o} {on} {d}
        push {o} {onto} {d}
        drag {o} {onto} {d}
        ship {o} to {d}
        ferry {o} to {d}
        shuttle {o} to {d}
        return {o} to {d}
        guide {o} {onto} {d}
        seat {o} {on} {d}
        collect {o} {onto} {d}
        keep {o} {on} {d}
        {d} is where {o} goes
        {d} is the place for {o}
        fill {d} with {o}
        i would love {o} {on} {d}
        help {o} {onto} {d}
        bring {d} {o}
        give {o} to {d}
        pick up {o} and let go of it {on} {d}
        carry {o} and set it down {on} {d}
    """),
    lines("""
        deposit {o} {on} {d}
        leave {o} {on} {d}
        stick {o} {on} {d}
        relocate {o} to {d}
        i need {o} {on} {d}
        grab {o} and set it down {on} {d}
        seize {o} and release it {on} {d}
        store {o} {on} {d}
        deliver {o} to {d}
        convey {o} to {d}
        park {o} {on} {d}
        plop {o} {on} {d}
        plonk {o} down {on} {d}
        haul {o} {onto} {d}
        arrange {o} {on} {d}
        insert {o} {onto} {d}
        serve {o} {on} {d}
        {o} has to end up {on} {d}
        get {o} to lie {on} {d}
        gently settle {o} {on} {d}
        pass {o} {onto} {d}
        transport {o} to {d}
        raise {o} and let it down {on} {d}
        plant {o} {on} {d}
        slot {o} {onto} {d}
        fling {o} {onto} {d}
        cart {o} to {d}
        nestle {o} {on} {d}
        install {o} {on} {d}
        supply {d} with {o}
        lob {o} {onto} {d}
    """),
)


def _of(dishes: Parts, on: str, onto: str) -> Parts:
    def said(ways: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            way.replace("{d}", f"the {name}").replace("{onto}", onto).replace("{on}", on)
            for way in ways
            for name in names
        )

    # A way to say it is kept with all of its dishes, or with none.
    return Parts(
        trained=said(_SAID.trained, dishes.trained),
        held_out=said(_SAID.held_out, dishes.trained + dishes.held_out),
        calibrates=said(calibration(_SAID), dishes.trained),
    )


_PLATE = Parts(
    (
        *("plate", "plate", "plate", "dish", "white plate", "round plate", "dinner plate", "ceramic plate"),
        *("flat plate", "disk"),
    ),
    ("platter", "saucer"),
)
_BOWL = Parts(
    ("bowl", "bowl", "bowl", "purple bowl", "dark bowl", "deep bowl", "salad bowl", "container", "vessel"),
    ("pot", "basin"),
)
# The plainest name stands there thrice, so that it is drawn oftenest.
ON_PLATE, INTO_BOWL = _of(_PLATE, "on", "onto"), _of(_BOWL, "in", "into")
