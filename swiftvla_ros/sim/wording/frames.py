# SPDX-License-Identifier: Apache-2.0
"""Sentences around what shall be done: ``{s}`` is the verb with its object; or ``{o}``, then ``{it}`` for the verb."""

from __future__ import annotations

from swiftvla_ros.sim.wording.parts import Parts, lines

FRAMES = Parts(
    lines("""
        {s}
        {s}
        {s}
        {s}
        please {s}
        {s} please
        {s}, please
        can you {s}
        can you {s}?
        could you {s}
        could you please {s}?
        would you {s}
        will you {s}?
        i want you to {s}
        i'd like you to {s}
        you should {s}
        you have to {s}
        now {s}
        {s} now
        robot, {s}
        hey robot, {s}
        go and {s}
        go ahead and {s}
        let's {s}
        next, {s}
        ok, {s}
        okay now {s}
        kindly {s}
        your task is to {s}
        try to {s}
        just {s}
        {s}, thanks
        {s} for me
        {s}!
        use your arm to {s}
        use the gripper to {s}
        then {s}
        first {s}
        so {s}
        {o}: {it}
        {o}, {it}
        see {o}? {it}
        there is {o}. {it}
        move to {o} and {it}
        not that one, {s}
        no, {s}
        stop that and {s}
        instead, {s}
        i would love for you to {s}
        i would like it if you {s}
        i hope you can {s}
        i'm telling you to {s}
        your mission is to {s}
        your assignment: {s}
        the plan is to {s}
        the task is to {s}
        you are supposed to {s}
        you're supposed to {s}
        feel free to {s}
        how about you {s}?
        would it be possible to {s}?
        is it possible for you to {s}?
        do you think you could {s}?
        are you able to {s}?
        would you be able to {s}?
        can i get you to {s}?
        wait, {s}
        actually, {s}
        sorry, {s}
        alright, {s}
        great, {s}
        good, now {s}
        well, {s}
        listen, {s}
        machine, {s}
        hello robot, {s}
        dear robot, please {s}
        my friend, {s}
        after that, {s}
        right now {s}
        {s} right away
        {s} immediately
        {s} at once
        {s} if possible
        {s} before anything else
        slowly {s}
        once more, {s}
        make sure to {s}
        be sure to {s}
        remember to {s}
        you must {s}
        you can {s}
        help me and {s}
        be nice and {s}
        be a dear and {s}
        be a good robot and {s}
        do this: {s}
        do the following: {s}
        here is what to do: {s}
        command: {s}
        task: {s}
        see that {o}? {it}
        locate {o} and {it}
        take a look at {o} and {it}
        approach {o} and {it}
        watch {o}, then {it}
        about {o}: {it}
        what about {o}? {it}
        forget that, {s}
        skip that, {s}
        change of plan: {s}
        let me have you {s}
    """),
    lines("""
        it would be great if you could {s}
        be so kind as to {s}
        time to {s}
        do me a favor and {s}
        the goal is to {s}
        quickly {s}
        carefully {s}
        i need you to {s}
        {s} when you can
        {s} as fast as possible
        arm, {s}
        if you can, {s}
        we need to {s}
        may i ask you to {s}
        please would you kindly {s}
        i changed my mind, {s}
        go to {o}, then {it}
        find {o} and {it}
        look for {o} and {it}
        as for {o}: {it}
        thank you, now {s}
        your job: {s}
        would you do the honors and {s}
        kindly proceed to {s}
        {s} without delay
        hurry up and {s}
        it is your turn to {s}
        let me see you {s}
        my wish is that you {s}
        i beg you to {s}
        {s}, would you?
        {s}, if that suits you
        {s} for us
        spot {o} and {it}
        head over to {o} and {it}
        concerning {o}: {it}
        on second thought, {s}
        scratch that, {s}
        perfect, {s}
        sir, {s}
        i am asking you to {s}
        the order is to {s}
        have the arm {s}
        could i trouble you to {s}?
        it is important that you {s}
        we would like you to {s}
        step one: {s}
        when you are ready, {s}
    """),
)
"""How a task is wrapped into a sentence; the bare one stands there four times, so that it is drawn as often."""

NEGATIONS = Parts(
    lines("""
        never {s}
        don't {s}
        do not {s}
        please don't {s}
        please do not {s}
        please never {s}
        and don't {s}
        you never {s}
        you must not {s}
        you may not {s}
        you should not {s}
        you shouldn't {s}
        you can't {s}
        i don't want you to {s}
        i did not ask you to {s}
        i never said {s}
        no need to {s}
        there is no need to {s}
        don't you dare {s}
        stop, don't {s}
        wait, do not {s}
        robot, don't {s}
        by no means {s}
        we won't {s}
        let's not {s}
        try not to {s}
        make sure not to {s}
        be careful not to {s}
        remember not to {s}
        did you {s}?
        why did you {s}?
        why would you {s}
        how do i {s}
        who told you to {s}
        you didn't {s}
        nobody wants you to {s}
        it is too early to {s}
        i will {s} myself
        leave it to me to {s}
        anything but {s}
        everything except {s}
    """),
    lines("""
        it is forbidden to {s}
        whatever you do, don't {s}
        under no circumstances {s}
        i forbid you to {s}
        you are not allowed to {s}
        you had better not {s}
        nobody should {s}
        it would be wrong to {s}
        i would rather you did not {s}
        when did you {s}?
        has anyone asked you to {s}?
        refuse to {s}
        i'd hate it if you {s}
        it makes no sense to {s}
        rather than {s}, do nothing
    """),
)
"""What turns a task's sentence into one that asks for nothing to be done."""
