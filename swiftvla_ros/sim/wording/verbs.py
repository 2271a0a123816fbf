# SPDX-License-Identifier: Apache-2.0
"""Verbs by task and place, with ``{o}`` where the object stands, once; and verbs of what no task is."""

from __future__ import annotations

from swiftvla_ros.sim.wording.parts import Parts, lines

VERBS = {
    ("pick", ""): Parts(
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
        """),
    ),
    ("touch", ""): Parts(
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
        """),
    ),
    ("place", "plate"): Parts(
        lines("""
            put {o} on the plate
            put {o} onto the plate
            place {o} on the plate
            set {o} down on the plate
            set {o} on the plate
            move {o} onto the plate
            move {o} to the plate
            lay {o} on the plate
            bring {o} to the plate
            carry {o} to the plate
            drop {o} on the plate
            pick up {o} and put it on the plate
            take {o} and place it on the plate
            put {o} on the dish
            place {o} on the white plate
            transfer {o} to the plate
        """),
        lines("""
            deposit {o} on the plate
            serve {o} on the plate
            leave {o} on the plate
            stick {o} on the plate
            relocate {o} to the plate
            i want {o} on the plate
            grab {o} and set it down on the plate
        """),
    ),
    ("place", "bowl"): Parts(
        lines("""
            put {o} into the bowl
            put {o} in the bowl
            place {o} in the bowl
            place {o} into the bowl
            drop {o} into the bowl
            drop {o} in the bowl
            move {o} into the bowl
            move {o} to the bowl
            bring {o} to the bowl
            carry {o} to the bowl
            lay {o} in the bowl
            pick up {o} and put it in the bowl
            take {o} and drop it into the bowl
            let {o} fall into the bowl
            put {o} inside the bowl
            transfer {o} to the bowl
        """),
        lines("""
            deposit {o} in the bowl
            stick {o} in the bowl
            toss {o} into the bowl
            relocate {o} to the bowl
            i want {o} in the bowl
            grab {o} and release it in the bowl
            store {o} in the bowl
        """),
    ),
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
    """),
)
"""What can be said of a block, and is none of the tasks."""
