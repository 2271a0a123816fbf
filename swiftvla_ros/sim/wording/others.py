# SPDX-License-Identifier: Apache-2.0
"""What people say that is none of the tasks: talk, other work, other languages, no words at all."""

from __future__ import annotations

from swiftvla_ros.sim.wording.parts import Parts, lines

TALK = Parts(
    lines("""
        hello
        good morning
        how are you
        what time is it
        what is your name
        who are you
        thank you very much
        see you tomorrow
        yes
        no
        maybe later
        wait
        stop
        stop it
        halt
        stay where you are
        do nothing
        don't move
        go home
        go back
        come here
        turn left
        move forward
        move your arm up
        open the gripper
        close the gripper
        open your hand
        wave at me
        dance
        sing a song
        tell me a joke
        play some music
        turn on the light
        switch off the radio
        open the door
        close the window
        make me a coffee
        cook dinner
        pour some water into the glass
        clean the kitchen
        wash the dishes
        fold the shirt
        water the plants
        walk the dog
        call my mother
        send an email to peter
        what is the weather like today
        the weather is nice
        it is raining outside
        how much is two plus two
        calculate seven times eight
        translate this into french
        write a poem about the sea
        who won the game last night
        where is the nearest station
        book a table for two
        i am hungry
        i am tired
        i love you
        this is a test
        testing one two three
        one two three four
        lorem ipsum dolor sit amet
        the quick brown fox jumps over the lazy dog
        to be or not to be
        once upon a time there was a king
        all happy families are alike
        colorless green ideas sleep furiously
        red is a beautiful color
        i prefer blue to green
        the sky is blue
        grass is green
        roses are red
        a red car drove by
        the green party won the election
        he was feeling blue
        the traffic light turned red
        block the street
        the blockchain is a database
        the block is heavy
        blocks are fun
        there are three blocks on the table
        which block is the biggest
        pick up
        pick something up
        pick up a block
        pick up the block
        pick up all blocks
        pick up everything
        pick up the phone
        pick up the kids from school
        pick me up at eight
        pick a number
        lift your arm
        lift the weights
        grab a beer
        take a seat
        take a break
        take your time
        get out
        get lost
        raise your hand
        raise the price
        touch
        touch something
        touch the block
        touch the table
        touch all blocks
        touch your nose
        keep in touch
        tap the keg
        press the button
        press enter
        press on
        poke fun at him
        stack the blocks
        build a tower
        sort the blocks by color
        put the blocks in the box
        put the block on the plate
        put all blocks into the bowl
        clear the table
        push the blocks together
        draw a circle
        draw a red square
        draw a line
        paint the wall blue
        solve the puzzle
        insert the peg into the hole
        open the drawer
        pull the handle
        turn the knob
        unplug the cable
        screw the cap on the bottle
        wipe the table
        calibrate your motors
        shut down
        restart the computer
        increase the speed
        go faster
        slow down
        is anybody there
        help
        what can you do
        red
        green
        blue
        red green blue
        block
        the red
        the
        and
        if
        please
        please please please
        can you
        could you please
        do it
        do it again
        again
        it
        that one
        not that one
        the other one
        the left one
        up
        down
        ok
        okay
        why
    """),
    lines("""
        good evening everybody
        nice to meet you
        what day is it today
        where do you live
        never mind
        forget it
        hold still
        freeze
        move backwards
        rotate your wrist
        shake hands with me
        whistle a tune
        turn the television on
        lock the front door
        bake a cake
        vacuum the living room
        feed the cat
        iron my trousers
        remind me to buy milk
        how tall is the eiffel tower
        what is the capital of spain
        divide ten by three
        order a pizza
        my head hurts
        check one check two
        it was a dark and stormy night
        the cat sat on the mat
        green tea is healthy
        the red sea is salty
        blue whales are huge
        she wore a red dress
        writer's block
        two blocks down the street
        pick a card
        pick your favorite
        lift the curse
        grab some lunch
        take it easy
        take me home
        fetch the newspaper
        touch the ceiling
        press pause
        tap water is cheap
        stack them up
        build a house from the blocks
        arrange the blocks in a row
        knock over the tower
        hide all blocks
        fill the glass
        plug in the charger
        tighten the screw
        open the microwave
        reboot
        charge your battery
        can anybody hear me
        tell me what you see
        green blue
        blocks
        would you
        and then
        over there
        anything
        nothing
        what
    """),
)
"""Everyday sentences, other robots' work, and halves of sentences."""

FOREIGN = Parts(
    lines("""
        nimm den roten block
        heb den blauen würfel auf
        berühre den grünen block
        bitte nimm den grünen klotz
        fass den roten würfel an
        wie spät ist es
        ramasse le bloc rouge
        prends le cube vert
        touche le bloc bleu
        soulève le bloc bleu s'il te plaît
        appuie sur le cube rouge
        quelle heure est-il
        recoge el bloque rojo
        levanta el cubo azul
        toca el bloque verde
        agarra el bloque azul por favor
        presiona el cubo rojo
        que hora es
        prendi il blocco rosso
        solleva il cubo blu
        tocca il blocco verde
        afferra il cubo verde per favore
        che ore sono
        pegue o bloco vermelho
        levante o cubo azul
        toque o bloco verde
        por favor pegue o cubo verde
        pak het rode blok
        til de blauwe kubus op
        raak het groene blok aan
        hoe laat is het
        ta upp det röda blocket
        rör vid det gröna blocket
        lyft den blå kuben
        возьми красный кубик
        подними синий блок
        коснись зелёного кубика
        который час
        拿起红色的积木
        触摸蓝色的方块
        把绿色的积木拿起来
        赤いブロックを持ち上げて
        青いブロックに触って
        緑のブロックを取ってください
    """),
    lines("""
        podnieś czerwony klocek
        dotknij zielonego klocka
        podnieś proszę niebieską kostkę
        kırmızı bloğu al
        mavi bloğa dokun
        yeşil küpü kaldır
        zvedni červenou kostku
        dotkni se modré kostky
        nosta punainen palikka
        kosketa sinistä palikkaa
        빨간 블록을 집어 올려
        파란 블록을 만져
        التقط المكعب الأحمر
        المس المكعب الأزرق
        σήκωσε τον κόκκινο κύβο
        άγγιξε το μπλε κύβο
        ridică cubul roșu
        atinge cubul verde
        vedd fel a piros kockát
        tag den røde klods
        rør ved den blå klods
        taub in rubrum tolle
        ambil balok merah
        sentuh balok biru
    """),
)
"""The tasks, and more, in languages that no trained demonstration was told in; held out are whole languages."""
