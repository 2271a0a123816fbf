# SPDX-License-Identifier: Apache-2.0
"""What blocks and their colours are called, and other things and colours."""

from __future__ import annotations

from swiftvla_ros.sim.wording.parts import Parts, lines

COLOR_WORDS = {
    "red": Parts(
        ("crimson", "scarlet", "ruby", "bright red", "dark red", "reddish", "cherry red", "red colored", "blood red"),
        ("vermilion", "maroon", "ruby red", "light red", "tomato red"),
    ),
    "green": Parts(
        ("emerald", "lime", "bright green", "dark green", "greenish", "grass green", "green colored", "lime green"),
        ("jade", "olive", "emerald green", "light green", "leaf green"),
    ),
    "blue": Parts(
        ("azure", "navy", "bright blue", "dark blue", "bluish", "sky blue", "blue colored", "royal blue"),
        ("cobalt", "sapphire", "navy blue", "light blue", "ocean blue"),
    ),
}
"""Other words for each colour."""

NOUNS = Parts(
    (
        *("block", "cube", "box", "piece", "object", "thing", "one", "toy", "square", "wooden block", "toy block"),
        *(
            "little block",
            "small cube",
            "block of wood",
            "plastic cube",
            "lego",
            "tile",
            "shape",
            "lego piece",
            "solid",
            "unit",
            "bit",
            "thingy",
            "element",
            "square block",
            "wood block",
            "plastic block",
            "play block",
            *("cubic thing", "gizmo", "artifact", "part", "wooden piece", "plastic piece", "small box", "tiny cube"),
            *("little cube", "square piece", "figure", "toy cube", "blocky thing", "wooden toy", "small block", "body"),
            *("square toy", "wooden thing", "small object", "plastic toy", "cubical block", "little box", "lego block"),
        ),
    ),
    (
        *("brick", "item", "chunk", "dice", "building block", "wooden cube", "cuboid", "little square thing", "lump"),
        *("thing of wood", "cube of plastic", "toy brick", "gadget", "hunk", "slab", "wooden box", "mini cube"),
        *("tiny thing", "lego brick", "square object", "small piece of wood", "cubic block"),
    ),
)
"""What a block is called."""

PHRASES = Parts(
    lines("""
        the {c} {n}
        the {c} {n}
        the {c} {n}
        {c} {n}
        a {c} {n}
        that {c} {n}
        this {c} {n}
        my {c} {n}
        the {n} that is {c}
        the {n} which is {c}
        the {c} {n} there
        the {c} {n} on the table
        the {c} {n} in front of you
        the {n} that's {c}
        the {n} colored {c}
        {c}
        the {c}
    """),
    lines("""
        the {n} with the {c} color
        the {n} painted {c}
        your {c} {n}
        the {n} in {c}
        any {c} {n}
        the {c} {n} over there
        the {n} that looks {c}
    """),
)
"""How colour and noun make an object; the plainest stands there thrice, so that it is drawn as often."""

OTHER_COLORS = Parts(
    (
        *("yellow", "purple", "orange", "black", "white", "pink", "brown", "golden", "big", "other", "transparent"),
        *(
            "small",
            "next",
            "dirty",
            "round",
            "old",
            "rainbow",
            "spotted",
            "cyan",
            "lavender",
            "lilac",
            "mauve",
            "cream",
        ),
        *("turquoise", "bronze", "copper", "ivory", "amber", "khaki", "tan", "mustard", "lemon", "plum", "colorful"),
        *("checkered", "empty", "largest", "first", "second", "nearest", "shiny", "soft", "metal", "glass", "new"),
        *("yellowish", "light yellow", "dark brown", "hot pink", "pale pink", "black and white", "invisible", "cheap"),
    ),
    (
        *("violet", "grey", "silver", "beige", "striped", "heavy", "magenta", "wooden", "broken", "peach", "charcoal"),
        *("fuchsia", "transparent yellow", "light grey", "tallest", "last", "rusty", "multicolored", "furthest", "wet"),
    ),
)
"""What no block is."""

OTHER_THINGS = Parts(
    (
        *("cup", "apple", "ball", "bottle", "pen", "book", "spoon", "car", "banana", "phone", "door", "lamp", "shirt"),
        *("chair", "flower", "hat", "screwdriver", "cable", "bag", "plate", "table", "button", "pencil", "carpet"),
        *("tomato", "shoe", "knife", "robot", "balloon", "bus", "house", "bird", "sock", "wire", "leaf", "sky"),
        *("candle", "clock", "curtain", "cushion", "dog", "doll", "drum", "egg", "flag", "glove", "guitar", "horse"),
        *("jar", "kettle", "ladder", "letter", "match", "mirror", "mouse", "nail", "needle", "newspaper", "onion"),
        *("pan", "paper", "pillow", "potato", "ring", "rope", "ruler", "scarf", "screen", "ship", "soap", "stone"),
        *("stick", "string", "sugar", "tape", "toothbrush", "train", "trousers", "vase", "watch", "wheel", "wall"),
        *("airplane", "ant", "axe", "basket", "bear", "bell", "belt", "bench", "blanket", "boat", "bone", "boot"),
        *("bracelet", "bridge", "broom", "butterfly", "cake", "calculator", "cap", "chain", "chicken", "chocolate"),
        *("cherry", "cigarette", "circle", "computer", "crayon", "crown", "diamond", "dollar", "duck", "elephant"),
        *("envelope", "fan", "feather", "fence", "finger", "fire", "folder", "fridge", "frog", "garlic", "grape"),
        *("hair", "hand", "handle", "heart", "helmet", "hose", "kite", "lemon", "lion", "lock", "magnet", "map"),
        *("medal", "melon", "milk", "monkey", "moon", "motor", "mushroom", "napkin", "necklace", "nut", "oil"),
        *("oven", "paint", "parcel", "peach", "pepper", "piano", "picture", "pig", "pipe", "pizza", "plant", "purse"),
        *("rabbit", "radio", "rice", "river", "road", "rocket", "roof", "rose", "rug", "salt", "sandwich", "saw"),
        *("shelf", "shell", "shovel", "snake", "spider", "sponge", "stamp", "star", "suitcase", "sun", "sword"),
        *("tablet", "teapot", "television", "tent", "ticket", "tie", "tiger", "tower", "toy car", "triangle", "truck"),
        *("tube", "van", "violin", "whistle", "wine", "wrench", "yarn", "zebra", "zipper", "teddy bear", "tool box"),
    ),
    (
        *("mug", "orange", "glass", "scissors", "marker", "key", "fork", "bicycle", "pear", "laptop", "window", "sofa"),
        *("bread", "brush", "camera", "candy", "carrot", "cheese", "coat", "coin", "comb", "cookie", "dress", "fish"),
        *("jacket", "hammer", "umbrella", "bowl", "cat", "strawberry", "bucket", "towel", "wallet", "tree", "eraser"),
        *("notebook", "ribbon", "pumpkin", "barrel", "pliers", "mattress", "lobster", "trumpet", "sweater", "donut"),
        *("thermometer", "stapler", "cucumber", "passport", "hedgehog", "lipstick", "backpack", "bulb", "shampoo"),
        *(
            "trophy",
            "tractor",
            "walnut",
            "tray",
            "lollipop",
            "microphone",
            "penguin",
            "sausage",
            "skateboard",
            "scooter",
        ),
    ),
)
"""What no block is called."""
