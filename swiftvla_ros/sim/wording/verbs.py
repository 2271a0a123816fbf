# SPDX-License-Identifier: Apache-2.0
"""Verbs by task and place, with ``{o}`` where the object stands, once; and verbs of what no task is."""

from __future__ import annotations

from swiftvla_ros.sim.wording.parts import Parts, lines
from swiftvla_ros.sim.wording.picking import PICKING
from swiftvla_ros.sim.wording.placing import INTO_BOWL, ON_PLATE
from swiftvla_ros.sim.wording.touching import TOUCHING

VERBS = {
    ("pick", ""): PICKING,
    ("touch", ""): TOUCHING,
    ("place", "plate"): ON_PLATE,
    ("place", "bowl"): INTO_BOWL,
}
"""What each task is called, by verb and place of its `Task`."""

OTHER_VERBS = Parts(
    lines("""
        throw {o}
        throw {o} away
        kick {o}
        rotate {o}
        turn {o} around
        spin {o}
        flip {o} over
        push {o} to the left
        push {o} off the table
        slide {o} to the right
        move {o} to the left
        move {o} away from you
        drag {o} across the table
        roll {o}
        stack {o} on the others
        put {o} on top of the other block
        put {o} down
        put {o} back
        put {o} in the drawer
        put {o} behind you
        place {o} next to the cup
        drop {o}
        let go of {o}
        release {o}
        paint {o}
        break {o}
        cut {o} in half
        hide {o}
        count {o}
        describe {o}
        look at {o}
        watch {o}
        photograph {o}
        take a picture of {o}
        measure {o}
        weigh {o}
        eat {o}
        wash {o}
        clean {o}
        open {o}
        close {o}
        buy {o}
        draw {o}
        forget {o}
        ignore {o}
        avoid {o}
        leave {o} alone
        leave {o} where it is
        do not touch {o}
        do not pick up {o}
        don't touch {o}
        don't lift {o}
        don't pick {o} up
        never touch {o}
        never grab {o}
        stop touching {o}
        stay away from {o}
        keep off {o}
        where is {o}
        is {o} heavy
        what color is {o}
        why is {o} there
        how big is {o}
        do you see {o}
        tell me about {o}
        who put {o} there
        i like {o}
        i saw {o} yesterday
        {o} is nice
        {o} is on the table
        {o} fell down
        {o}
        remember {o}
        wrap {o} in paper
        melt {o}
        sell {o}
        swap {o} with the other one
        walk around {o}
        fly over {o}
        bend {o}
        fold {o}
        glue {o} to the table
        lock {o} away
        kiss {o}
        punch {o}
        squeeze {o}
        chew {o}
        copy {o}
        print {o}
        search the web for {o}
        destroy {o}
        bake {o}
        freeze {o}
        polish {o}
        scratch {o}
        fill {o} with water
        trade {o} for an apple
        pack {o} into a box
        send {o} to the office
        turn {o} upside down
        hold on before you touch {o}
        nobody touches {o}
        think about {o}
        find out who made {o}
        how many sides has {o}
        talk to {o}
        pick up everything but {o}
        touch all blocks except {o}
        push {o} away
        push {o} forward
        push {o} to the side
        pull {o} closer
        pull {o} towards you
        slide {o} away
        nudge {o} to the side
        move {o} to the right
        move {o} back
        move {o}
        turn {o}
        turn {o} over
        smack {o}
        slap {o}
        smash {o}
        hammer {o}
        stomp on {o}
        crack {o}
        tear {o} apart
        rip {o}
        stab {o}
        drill into {o}
        trip over {o}
        jump over {o}
        circle around {o}
        point at {o}
        point to {o}
        wave at {o}
        show me {o}
        find {o}
        inspect {o}
        examine {o}
        guess where {o} is
        compare {o} with the others
        line {o} up with the others
        put {o} in the corner
        put {o} to the left of the others
        balance {o} on its edge
        stack the others on {o}
        build a tower with {o}
        place {o} upside down
        bounce {o}
        juggle {o}
        cool {o} down
        heat {o} up
        cook {o}
        plug {o} in
        unscrew {o}
        assemble {o}
        sharpen {o}
        scan {o}
        film {o}
        label {o}
        name {o}
        order {o}
        pay for {o}
        lose {o}
        give {o} to the dog
        feed {o} to the cat
        bring {o} to the kitchen
        take {o} to the bathroom
        carry {o} to the door
        is {o} still there
        was {o} touched
        did you pick up {o}
        have you touched {o}
        why did you touch {o}
        how do i lift {o}
        should i touch {o}
        you touched {o} already
        you must not lift {o}
        you may not touch {o}
        without touching {o}
        be careful with {o}
    """),
    lines("""
        shove {o} aside
        hurl {o}
        fling {o} away
        twist {o}
        tilt {o}
        shake {o}
        crush {o}
        burn {o}
        bury {o}
        sort {o}
        put {o} in your pocket
        put {o} under the table
        mail {o} to me
        set {o} aside
        lick {o}
        smell {o}
        read {o}
        repair {o}
        sing to {o}
        admire {o}
        don't grab {o}
        do not lift {o}
        do not press {o}
        please never poke {o}
        don't go near {o}
        how far away is {o}
        whose is {o}
        can you see {o}
        what is {o} made of
        {o} looks old
        {o} belongs to my sister
        stand behind {o}
        dance with {o}
        iron {o}
        explain {o} to me
        guard {o}
        spread {o} out
        chop {o}
        toast {o}
        flick {o} away
        scoot {o} over
        whack {o}
        kick {o} over there
        swing at {o}
        hop over {o}
        where did {o} come from
        who owns {o}
        will {o} fall
        rename {o}
        borrow {o} from the neighbour
        donate {o}
        throw {o} at me
        haven't you lifted {o}
        refrain from touching {o}
        no touching of {o}
        leave off {o}
        set fire to {o}
        roll {o} along the table
        rearrange {o}
        straighten {o}
        align {o}
        decorate {o}
    """),
)
"""What can be said of a block, and is none of the tasks."""
