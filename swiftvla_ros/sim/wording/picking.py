# SPDX-License-Identifier: Apache-2.0
"""What picking a block up is called, with ``{o}`` where the object stands, once."""

from __future__ import annotations

from swiftvla_ros.sim.wording.parts import Parts, lines

PICKING = Parts(
    lines("""
        pick up {o}
        pick {o} up
        pick {o}
        lift {o}
        lift up {o}
        lift {o} up
        grab {o}
        grab hold of {o}
        take {o}
        take hold of {o} and lift it
        raise {o}
        raise {o} up
        grasp {o}
        grasp {o} and lift it
        grip {o} and raise it
        get {o}
        get hold of {o}
        get me {o}
        fetch {o}
        fetch me {o}
        collect {o}
        elevate {o}
        seize {o}
        give me {o}
        hand me {o}
        bring me {o}
        bring {o} up
        hold {o} up
        hold {o} in the air
        i want {o}
        take {o} off the table
        lift {o} off the table
        pick {o} up off the table
        pick {o} up and hold it
        scoop up {o}
        pull {o} up
        close your gripper on {o} and lift it
        take {o} in your hand
        remove {o} from the table
        let me have {o}
        i'd like {o}
        can i have {o}
        acquire {o}
        obtain {o}
        capture {o}
        nab {o}
        grab onto {o} and lift it
        grab {o} with your gripper
        haul {o} up
        draw {o} up
        tug {o} up
        uplift {o}
        boost {o} up
        lever {o} up
        whisk {o} up
        sweep {o} up
        swoop in and grab {o}
        peel {o} off the table
        extract {o} from the table
        withdraw {o} from the table
        recover {o}
        claim {o}
        procure {o}
        levitate {o}
        suspend {o} above the table
        secure {o} in your gripper
        pinch {o} and lift it
        squeeze {o} and lift it
        clamp onto {o} and lift it
        latch onto {o} and lift it
        wrap your gripper around {o} and lift it
        close your fingers around {o} and raise it
        close the jaws on {o} and lift
        get a grip on {o}
        get a hold of {o}
        get {o} up
        get {o} up off the table
        get {o} in your gripper
        go get {o}
        go grab {o}
        go and fetch {o}
        gimme {o}
        give {o} to me
        hand {o} over
        hand {o} to me
        bring {o} here
        bring {o} over
        bring {o} to me
        bring {o} up off the table
        i need {o}
        i want to have {o}
        i want {o} in your gripper
        i want {o} off the table
        may i have {o}
        could i get {o}
        let me get {o}
        have {o} in your gripper
        hold {o}
        hold {o} high
        hold onto {o} and lift it
        keep hold of {o}
        keep {o} in the air
        lay hold of {o}
        take {o} up
        take up {o}
        take {o} with your gripper
        take {o} away from the table
        take possession of {o}
        lift {o} high
        lift {o} off
        lift {o} upward
        lift {o} with your gripper
        raise {o} off the table
        raise {o} high
        make {o} rise
        pick {o} with your gripper
        pull {o} off the table
        reach for {o} and pick it up
        reach for {o} and lift it
        reach out and grab {o}
        start lifting {o}
        start picking up {o}
        try picking up {o}
        try lifting {o}
        use your gripper to lift {o}
    """),
    lines("""
        hoist {o}
        hoist {o} up
        retrieve {o}
        snatch {o}
        snatch up {o}
        pluck {o} from the table
        pass me {o}
        clutch {o} and raise it
        snag {o}
        heave {o} up
        lift {o} into the air
        gather up {o}
        clasp {o} and bring it up
        have {o} picked up
        i would like to have {o}
        carry {o} upwards
        catch hold of {o} and raise it
        get {o} off the table
        lift {o} from the ground
        cup {o} and lift it
        cradle {o} and raise it
        hook {o} and raise it
        grapple {o} and lift it
        pry {o} off the table
        tweeze {o} up
        lug {o} up
        whip {o} up off the table
        grab ahold of {o}
        bring {o} aloft
        hold {o} aloft
        lift {o} skyward
        raise {o} to the sky
        deliver {o} to me
        present {o} to me
        offer me {o}
        slip me {o}
        lend me {o}
        free {o} from the table
        unload {o} from the table
        clear {o} off the table
        pick out {o} and lift it
        take custody of {o}
        make {o} go up
        yank {o} up
        hitch {o} up
        trap {o} and lift it
        hug {o} and raise it
        fish {o} up
        get your claws on {o}
        embrace {o} and lift it
    """),
)
