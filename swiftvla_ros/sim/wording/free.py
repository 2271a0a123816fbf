# SPDX-License-Identifier: Apache-2.0
"""Sentences written down by hand, before anything was trained and without the grammar: nothing is trained on them."""

from __future__ import annotations

from swiftvla_ros.sim.language import Task
from swiftvla_ros.sim.wording.parts import lines

FREE = {
    Task("pick", "red"): lines("""
        Could you grab the red cube for me?
        give me the red one
        raise the red cube off the table
        Take the scarlet block
        grasp the red cube
        the red block, please pick it up
        i want you to lift the crimson block
        plz pick up red block
        get hold of the red toy
        pick red
        carefully lift the red brick from the table
        We need the red block lifted
    """),
    Task("pick", "green"): lines("""
        i'd like the green block please
        hold up the green cube
        please pick the emerald cube up
        pick up the block that is green
        could you lift the green piece?
        hand me the green brick
        pickup the green block
        elevate the green cube
        grab green
        can u pick the green cube up
        grip the green block and lift
        lets have the green one in the air
    """),
    Task("pick", "blue"): lines("""
        lift the blue thing up
        Get the blue brick
        fetch the blue cube
        would you mind picking up the blue block?
        lift the block with the blue color
        bring the blue block up
        Go grab the blue one
        lift teh blue block
        Now take the blue cube
        pick the navy block
        snatch the blue block
        take up the blue block
    """),
    Task("touch", "red"): lines("""
        Touch the red one
        can you press the red block?
        gently touch the red brick
        rest your hand on the red cube
        tap on top of the red block
        contact the red block with the gripper
        lay a finger on the red block
        poke red
        push down on the scarlet block
        bring your gripper down onto the red block
        can u tap the red cube
        Now press the red one
    """),
    Task("touch", "green"): lines("""
        poke the green thing
        place the gripper on top of the green cube
        press down on the green one
        make contact with the green block
        feel the green cube
        prod the green brick
        reach down and touch the green block
        lightly press the emerald cube
        please just touch the green piece
        put the fingertip on the green brick
        boop the green block
        rest the tip of your gripper on the green cube
    """),
    Task("touch", "blue"): lines("""
        tap the blue cube please
        put your finger on the blue block
        give the blue cube a tap
        Would you mind touching the blue block?
        go touch the blue thing
        tuoch the blue block
        tap blue
        the blue block: touch it
        touch the top side of the blue cube
        place a finger on the navy block
        knock on the blue block
        i want to see you touch the blue block
    """),
    Task("place", "red", "plate"): lines("""
        put the red cube on the plate please
        could you set the red one down on the plate?
        i want the red block on the plate
        move red to the plate
    """),
    Task("place", "green", "plate"): lines("""
        place the green brick onto the plate
        carry the green cube over to the white plate
        Put green on plate
        plz put teh green block on the plate
    """),
    Task("place", "blue", "plate"): lines("""
        grab the blue block and put it on the plate
        the blue cube goes on the plate
        can you leave the navy block on the plate
        take the blue thing to the plate
    """),
    Task("place", "red", "bowl"): lines("""
        drop the red one in the bowl
        would you put the crimson block into the bowl?
        get the red cube into the bowl
        throw the red block into the bowl
    """),
    Task("place", "green", "bowl"): lines("""
        the green block belongs in the bowl
        pick the green cube up and drop it in the bowl
        bring the emerald block to the bowl
        Please place green in the bowl
    """),
    Task("place", "blue", "bowl"): lines("""
        put the blue block inside the bowl
        let the blue cube fall in the bowl
        bowl: put the blue block in it
        i'd like the blue one in the bowl
    """),
}
"""By what they mean."""

FREE_OF_NO_TASK = lines("""
    asdf qwer
    purple monkey dishwasher
    blah blah blah
    What's the weather?
    Nimm den blauen Block
    Coge el bloque verde
    Attrape le cube rouge
    青いブロックを取って
    拿起蓝色方块
    Возьми зелёный блок
    pick up the yellow block
    touch the banana
    open the drawer
    throw the red block
    stack the red block on the blue block
    don't pick up the green block
    never touch the blue cube
    pick up the red and the blue block
    push the green cube to the left
    make me a sandwich
    foo bar baz
    42
    ???
    hello robot
    the the the
    sing
    rotate the blue block
    move the red block next to the green one
    xkcd
    Sesquipedalian verbosity
    lift
    pick up
    red
    how are you today?
    turn off the lights
    pick up the green apple
    raise the flag
    touch grass
    fetch the stick
    zzzzz
    sudo make me a sandwich
    take the blue pill
    Til den blå kloss
    podnieś zielony klocek
    what should I pick up?
    is the red block heavy?
    jump
    pick up the block
""")
"""What means no task."""
