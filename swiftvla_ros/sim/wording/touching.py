# SPDX-License-Identifier: Apache-2.0
"""What touching a block on its top is called, with ``{o}`` where the object stands, once."""

from __future__ import annotations

from swiftvla_ros.sim.wording.parts import Parts, lines

TOUCHING = Parts(
    lines("""
        touch {o}
        touch the top of {o}
        touch {o} on the top
        touch {o} with your gripper
        tap {o}
        tap on {o}
        tap the top of {o}
        give {o} a tap
        put your fingertip on {o}
        put your finger on {o}
        put a finger on top of {o}
        place your gripper on {o}
        press {o}
        press on {o}
        press down on {o}
        press the top of {o}
        push down on {o}
        rest the gripper on {o}
        rest your hand on {o}
        rest your fingertip on top of {o}
        poke {o}
        give {o} a poke
        make contact with {o}
        feel {o}
        contact {o}
        lay your finger on {o}
        lean on {o}
        reach out and touch {o}
        bring your fingertip down on {o}
        go down and touch {o}
        pat {o}
        poke at {o}
        rap on {o}
        press onto {o}
        tickle {o}
        brush {o} with your fingertip
        lower your hand onto {o}
        touch down on {o}
        graze {o}
        graze the top of {o}
        caress {o}
        boop {o}
        bop {o}
        pet {o}
        finger {o}
        tag {o}
        tag the top of {o}
        click {o}
        click on {o}
        hit the top of {o} gently
        gently tap {o}
        gently touch {o}
        lightly touch {o}
        lightly press {o}
        touch {o} lightly
        touch {o} gently
        touch {o} from above
        touch {o} with a fingertip
        press {o} gently
        press {o} from above
        press {o} like a button
        push {o} like a button
        push {o} down
        push {o} from above
        give {o} a touch
        give {o} a press
        give {o} a pat
        give {o} a tickle
        put your hand on {o}
        put your gripper on {o}
        put the gripper on top of {o}
        put pressure on {o}
        put some weight on {o}
        place your hand on {o}
        place a finger on {o}
        place your fingertip on top of {o}
        rest on {o}
        rest your gripper on {o}
        rest your finger on {o}
        land on {o}
        land your finger on {o}
        settle on {o}
        sit on {o}
        bring your hand down on {o}
        bring the gripper down onto {o}
        move your finger onto {o}
        move down onto {o}
        move the gripper to the top of {o}
        go touch {o}
        go tap {o}
        go press {o}
        reach {o} with your finger
        reach down to {o}
        meet {o} with your fingertip
        make the gripper touch {o}
        make your finger touch {o}
        let your finger touch {o}
        let the gripper rest on {o}
        feel the top of {o}
        feel {o} with your fingertip
        check {o} with your finger
        sense {o} with your fingertip
        test {o} with a finger
        try touching {o}
        start touching {o}
        start pressing {o}
        keep your finger on {o}
        have your finger on {o}
        descend on {o}
        descend onto {o}
        lower your finger to {o}
        lower your fingertip onto {o}
        drop your finger onto {o}
        high five {o}
        pin {o} down
        hold {o} down
        hold your finger on {o}
        hold your hand on {o}
    """),
    lines("""
        prod {o}
        give {o} a little prod
        jab {o}
        dab {o}
        give {o} a gentle pat
        set your fingertip on {o}
        hold a finger against the top of {o}
        apply pressure to {o}
        come into contact with {o}
        knock on {o}
        tip your finger on {o}
        lower the gripper onto {o}
        push on the top of {o}
        put the tip of the gripper on {o}
        lay your hand on {o}
        stroke {o}
        depress {o}
        rub {o}
        rub the top of {o}
        skim {o} with your finger
        probe {o}
        peck {o}
        peck at {o}
        thumb the top of {o}
        drum on {o}
        bear down on {o}
        weigh down on {o}
        perch on {o}
        alight on {o}
        cover {o} with your hand
        plant your finger on {o}
        plant a finger on top of {o}
        dip your finger onto {o}
        sink down onto {o}
        connect with {o}
        establish contact with {o}
        bring the gripper in contact with {o}
        have a feel of {o}
        give {o} a dab
        give {o} a stroke
        give {o} a jab
        give {o} a knock
        give {o} a rub
        extend a finger to {o}
        push a finger against {o}
        stretch out and touch {o}
        lay a fingertip upon {o}
        physically touch {o}
        get in contact with {o}
        make your gripper meet {o}
    """),
)
