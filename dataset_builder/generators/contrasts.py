"""Words that make a caption one of another picture, where they take each other's place; for `negatives.py`.

Written by hand, and read in captions: what replaces a word excludes it, and may stand where it stood.
"""

from __future__ import annotations

import re
from collections.abc import Set

from ..wording.lexicon import BEINGS, SENSES
from .lexicon import CLOTHES, GROUND


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# -------------------------------------------------------------------------------------------------------------- roles
# What one does to another, and not both to each other; neither "kisses" nor "plays with".
ASYMMETRIC = _words(
    "chase follow hold carry push pull lead watch feed bite catch throw kick teach help tackle ride wash pet "
    "photograph lift attack hit pursue jump sniff lick bark stare point toss hand give show drag pass block grab "
    "examine observe look leap comfort inspect approach pat herd tickle cuddle climb splash instruct serve"
)
RESTING = _words("sit stand lie rest lay wait")
SPATIAL = _words("behind above below under underneath beneath") | {"in front of", "on top of"}
WORN = CLOTHES | _words("cap glasses sunglasses scarf tie goggles gloves boots backpack beard hair trunks")

# ------------------------------------------------------------------------------------------------------------ colours
BASIC_COLOURS = (
    "red", "blue", "green", "yellow", "black", "white", "brown", "gray", "grey", "orange", "purple", "pink",
)  # fmt: skip
SHADES = _words("light dark bright neon pale")
ANIMAL_COLOURS = _words("black white brown gray grey")
ANIMALS = {
    word for word in BEINGS for sense in SENSES.get(word, ()) if sense.contrast.name in ("dog", "duck")
} | _words("animal animals creature lab labs")
ONLY_COLOURS = {  # stems of nouns that may have only these
    "grass": _words("green brown yellow"), "field": _words("green brown yellow"),
    "sky": _words("blue gray orange pink"), "leaf": _words("green yellow red orange brown"),
    "lawn": _words("green brown"), "hill": _words("green brown"),
    "tree": _words("green brown"), "hair": ANIMAL_COLOURS, "sand": _words("white black brown"),
}  # fmt: skip
COLOURLESS = _words(  # what follows a colour that is no colour, or none to be changed
    "water waters rapids rafting photo photograph picture image photography sox bay belt retriever snow waves wave "
    "tea wine light lights area ice juice hockey pepper house face paint peel slice slices"
)
HAIR = {
    "blond": "dark-haired", "blonde": "dark-haired", "blond-haired": "dark-haired", "blonde-haired": "dark-haired",
    "dark-haired": "blond-haired", "brown-haired": "blond-haired", "black-haired": "blond-haired",
    "red-haired": "black-haired", "brunette": "blond", "redheaded": "blond",
}  # fmt: skip

# ------------------------------------------------------------------------------------------------------------ numbers
COUNTS = {
    "two": ("three", "four", "five"), "three": ("two", "five"), "four": ("two", "six"), "five": ("two", "three"),
    "six": ("two", "three"), "seven": ("two", "three"), "eight": ("two", "three"), "2": ("3", "4"), "3": ("2", "5"),
    "4": ("2", "6"), "5": ("2", "3"),
}  # fmt: skip
NOT_ONE = _words("one other others both each another between either neither first second third pair couple them")
MEASURES = _words(
    "year years month months day days week weeks hour hours minute minutes second seconds foot feet inch inches meter "
    "meters mile miles yard yards pound pounds dollar dollars oclock times ways sides piece pieces wheels"
)

# --------------------------------------------------------------------------------------------------------- directions
_THE = r"(?= (?:a|an|the|his|her|their|its|two|some|another|each|large|small|tall|big)\b)"
_MOVES = r"(?:walk|run|runn|jump|leap|climb|com|go|div|step|danc|swim|swimm|ski|rid|fly|hop|hopp)(?:s|es|ing|ed|e)?"
_GOES = r"(?:climb(?:s|ing)?|walk(?:s|ing)?|run(?:s|ning)?|hik(?:es|ing)|go(?:es|ing))"
_SITS = (
    r"(?:sit|sits|sitting|sat|stands?|standing|stood|lies|lying|laying|lays|rests?|resting|sleeps?|sleeping|perched|"
    "seated)"
)
_ADJECTIVE = r"(?:(?!of\b|and\b|in\b|on\b|with\b|top\b)[\w-]+ ){0,2}?"
_SOLID = (
    "benches|bench|rock|rocks|table|chair|chairs|couch|sofa|bed|wall|car|truck|log|fence|box|boulder|statue|platform|"
    "horse|stool|railing|ledge|stump|bridge|counter|dock|bus|pile|desk|barrel|motorcycle|bicycle|bike|hill|dune"
)
_HEIGHT = (
    rf"(?= (?:a|an|the|some) {_ADJECTIVE}(?:stairs|steps|ladder|hill|mountain|cliff|slope|ramp|rope|pole|staircase|"
    r"stairway|hillside|rock|wall|tree)\b)"
)
_NO_HURDLE = r"(?! (?:\w+ )?(?:\w+ )?(?:water|waves?|puddle|stream|creek|snow|sand|boot|ball|people))"
DIRECTIONS = [
    (re.compile(pattern), new)
    for pattern, new in (
        (r"(?<=the )left(?= side| of|$)|left(?= (?:hand|arm|leg|foot|side)\b)", "right"),
        (r"(?<=the )right(?= side| of|$)|right(?= (?:hand|arm|leg|foot|side)\b)", "left"),
        (rf"\b(?<!the )in front of{_THE}", "behind"),
        (rf"\b(?<!from )(?<!left )(?<!close )behind{_THE}", "in front of"),
        (rf"\babove{_THE}", "below"),
        (rf"\bbelow{_THE}", "above"),
        (rf"\b(?<!out )(?<!from )(?:under|underneath|beneath){_THE}(?! \w+ (?:arm|water|attack))", "on top of"),
        (r"\binside (?:of )?(a|an|the)\b", r"outside \1"),
        (r"\boutside(?: of)? (a|an|the)\b", r"inside \1"),
        (r"\boutside$", "inside"),
        (r"\binside$", "outside"),
        (r"\boutdoors\b", "indoors"),
        (r"\bindoors\b", "outdoors"),
        (r"\boutdoor\b", "indoor"),
        (r"\bindoor\b", "outdoor"),
        (rf"\b({_MOVES}) into{_THE}(?! the air)", r"\1 out of"),
        (rf"\b({_MOVES}) out of{_THE}", r"\1 into"),
        (rf"\b({_MOVES}) off(?: of)?{_THE}", r"\1 onto"),
        (rf"\b({_MOVES}) onto{_THE}", r"\1 off"),
        (rf"\b({_MOVES}) (?:toward|towards){_THE}", r"\1 away from"),
        (rf"\b({_MOVES}) away from{_THE}", r"\1 toward"),
        (rf"\b({_GOES}) up{_HEIGHT}", r"\1 down"),
        (rf"\b({_GOES}) down{_HEIGHT}", r"\1 up"),
        (rf"\b(?:jump|leap)(s|ing) over{_THE}{_NO_HURDLE}", r"crawl\1 under"),
        (
            rf"\b({_SITS}) (?:on top of|on|atop) (?=(?:a|an|the) {_ADJECTIVE}(?:{_SOLID})\b(?! \w+ing))",
            r"\1 behind ",
        ),
        (rf"\b(?<!walk )(?:near|next to|beside|close to){_THE}", "far from"),
        (r"\b(look(?:s|ing)?) at(?= the camera\b)", r"\1 away from"),
    )
]

# ----------------------------------------------------------------------------------------------------- gender and age
GENDERED = {
    "man": "woman", "woman": "man", "men": "women", "women": "men", "boy": "girl", "girl": "boy", "boys": "girls",
    "girls": "boys", "lady": "gentleman", "ladies": "gentlemen", "guy": "woman", "guys": "women", "male": "female",
    "female": "male", "gentleman": "lady",
}  # fmt: skip
PRONOUNS = {
    "he": "she", "she": "he", "his": "her", "her": "his", "him": "her", "himself": "herself", "herself": "himself",
}  # fmt: skip
GENDERED_THINGS = _words(
    "bikini bikinis beard bearded mustache moustache pregnant dress dresses skirt skirts bra bride groom shirtless "
    "bald topless wedding mother father gown heels tuxedo husband wife mom dad daughter son lipstick makeup brother "
    "sister kilt ponytail pigtails purse"
)
COMPARATIVES = _words("smaller larger bigger taller shorter longer younger older")  # what they compare with stays

_GROWN = _words("man woman men women person people couple lady ladies gentleman guy adult couples male female")
_OBJECTS = _words(
    "dog dogs cat cats rock rocks ball balls building buildings tree trees boat boats truck car cars box umbrella "
    "stick sticks wave waves hill dune house animal animals bag backpack crowd group stone stones pool puppy log fish "
    "bird birds horse statue sign puddle tent branch bridge flag fountain waterfall splash toy hole airplane plane "
    "camera cliff cake pile field lake mountain mountains boulder fire"
)
_BUILT = _words("bench fence table chair bridge pole box door railing ramp platform ladder stairs")
_TALL = _words("building buildings tree trees man woman fence wall grass tower men women cliff grasses")
# word -> (its opposite, the nouns of which it is said; None for all beings)
ADJECTIVES: dict[str, tuple[str, Set[str] | None]] = {
    "young": ("old", _GROWN), "old": ("young", _GROWN), "elderly": ("young", _GROWN),
    "big": ("small", _OBJECTS), "large": ("small", _OBJECTS), "huge": ("tiny", _OBJECTS), "small": ("large", _OBJECTS),
    "little": ("big", _OBJECTS), "tiny": ("huge", _OBJECTS), "giant": ("tiny", _OBJECTS),
    "tall": ("short", _TALL), "short": ("tall", _words("man woman building fence wall grass")),
    "long": ("short", _words("hair stick branch pole dress rope leash line sleeves")),
    "wet": ("dry", _words("dog dogs sand ground street sidewalk road pavement hair rock rocks cat")),
    "dry": ("wet", _words("ground grass sand field")),
    "open": ("closed", _words("mouth mouths window door gate umbrella eyes")),
    "closed": ("open", _words("mouth window door gate eyes")),
    "empty": ("crowded", _words("street beach road field pool room restaurant stadium stands")),
    "crowded": ("empty", _words("street beach road room restaurant stadium sidewalk park pool area place market")),
    "busy": ("empty", _words("street road sidewalk intersection restaurant market")),
    "happy": ("sad", None), "sad": ("happy", None), "smiling": ("crying", None), "laughing": ("crying", None),
    "crying": ("laughing", None),
    "muddy": ("clean", _words("dog dogs water bike car truck")),
    "dirty": ("clean", _words("dog truck car street water boy child")),
    "snowy": ("grassy", GROUND), "grassy": ("snowy", GROUND), "sunny": ("rainy", _words("day")),
    "rainy": ("sunny", _words("day street")), "sandy": ("snowy", GROUND - {"plain"}),
    "rocky": ("grassy", GROUND - {"mountaintop", "mountain", "mountains"}),
    "wooden": ("metal", _BUILT | {"boat"}), "metal": ("wooden", _BUILT | {"rail"}),
    "shallow": ("deep", _words("water pool stream river lake pond creek")),
    "deep": ("shallow", _words("water")),
    "calm": ("rough", _words("water waters sea ocean lake")), "rough": ("calm", _words("water waters sea ocean")),
    "narrow": ("wide", _words("street road path alley bridge stream")),
    "wide": ("narrow", _words("street road path river")),
    "dark": ("bright", _words("room sky street")), "bright": ("dark", _words("room sky day")),
    "fat": ("thin", None), "hot": ("cold", _words("day coffee")), "cold": ("hot", _words("day")),
    "male": ("female", None), "female": ("male", None),
}  # fmt: skip

# ------------------------------------------------------------------------------------------------------------ actions
_STATIC = re.compile(
    r"(?:on|in|at|near|by|next|beside|behind|under|inside|outside|around|with|and|while|along|among|together|atop) "
    r"(?!up |down |to )"
)
_MOVING = re.compile(
    r"(?:through|across|along|in|on|over|down|up|toward|towards|past|away|around|beside|with|outside|near|by|"
    "alongside) "
)
_OBJECT = re.compile(r"(?:a|an|the|his|her|their|two|some) ")
_OWN = r"(?:a|an|the|his|her|their) "
_TOY = re.compile(
    rf"{_OWN}(?:\w+ )?(?:ball|baseball|football|frisbee|stick|rock|stone|snowball|basketball)s? (?!to |at |for |into )"
)
_WHEELS = re.compile(
    rf"{_OWN}(?:(?!and\b)[\w-]+ ){{0,2}}?(?:bike|bicycle|motorcycle|scooter|motorbike|bikes|bicycles|motorcycles|"
    "tricycle|cart) "
)
_BOARD = re.compile(rf"{_OWN}(?:[\w-]+ )?(?:skateboard|surfboard|snowboard) ")
_HORSE = re.compile(rf"{_OWN}(?:[\w-]+ ){{0,2}}?(?:horse|horses|donkey|camel|elephant|pony|bull) ")
_WORN = re.compile(
    r"\w+ (?:(?!and\b)[\w-]+ ){0,2}?(?:hat|helmet|cap|coat|jacket|scarf|backpack|mask|sunglasses|glasses|goggles|"
    r"gloves|hats|helmets|caps|jackets|coats|costume|costumes|dress|vest|uniform|suit) "
)
_STILL = re.compile(r"(?:on|in|under|next|beside|near|by) ")
_THROUGH = re.compile(r"(?:through|across|into|onto) (?!(?:the )?(?:air|midair) )")
_FACE = re.compile(r"(?:at|while|and|for|as|in) |$")
_PLAY = re.compile(
    r"(?:in|on|at|near|outside|inside|by) "
    r"(?!the (?:guitar|drums|piano)|a band|an? \w* ?(?:game|match))"
)
# lemma -> (what follows it, what it becomes)
ACTIONS: dict[str, list[tuple[re.Pattern, tuple[str, ...]]]] = {
    "sit": [(_STATIC, ("stand", "lie"))],
    "stand": [(_STATIC, ("sit", "lie"))],
    "lie": [(_STILL, ("stand", "sit"))],
    "lay": [(_STILL, ("stand", "sit"))],
    "run": [(_MOVING, ("walk", "crawl"))],
    "walk": [(_MOVING, ("run", "crawl"))],
    "jog": [(_MOVING, ("walk",))],
    "jump": [(_THROUGH, ("walk", "crawl"))],
    "leap": [(_THROUGH, ("walk", "crawl"))],
    "climb": [(re.compile(r"(?:a|an|the) "), ("jump off",))],
    "smile": [(_FACE, ("frown", "cry"))],
    "laugh": [(_FACE, ("cry",))],
    "cry": [(_FACE, ("laugh",))],
    "push": [(_OBJECT, ("pull",))],
    "pull": [(_OBJECT, ("push",))],
    "throw": [(_TOY, ("catch",))],
    "catch": [(_TOY, ("throw", "drop"))],
    "kick": [(_TOY, ("throw", "catch"))],
    "swim": [(re.compile(r"in (?!.*\btowards? )"), ("stand",)), (re.compile("(?:through|across|toward) "), ("run",))],
    "play": [(_PLAY, ("sleep",))],
    "sleep": [(_STATIC, ("play",))],
    "ride": [(_WHEELS, ("push",)), (_HORSE, ("lead", "feed")), (_BOARD, ("carry",))],
    "chase": [(_OBJECT, ("ignore", "run from"))],
    "wear": [(_WORN, ("carry",))],
    "eat": [(re.compile("(?:in|at|on|outside|while) "), ("sleep",))],
    "dance": [(re.compile("(?:in|at|on|near|outside|while|together) "), ("sleep", "sit"))],
}

# ------------------------------------------------------------------------------------------------------------- things
# word -> (what it becomes, stems that hinder it)
_SWIM = _words("swim div dive splash surf surfer raft row boat float wad wade")
_BARKS = _words("bark leash retriev muzzl muzzle puppy sled breed collar")
_PLAYS = _words("player bounc bounce soccer tennis basketball baseball football hockey golf bat kick hit hoop racket")
_SPORTS = _words(
    "ball bat racket racquet hoop dunk kick pitch pitcher quarterback goal goali stick puck glov batter catcher rink"
)
_WITH_SNOW = _words("ski sled snowboard skier snowboarder snowman snowball shovel snowsho")
_WITH_WATER = _SWIM | _words("drink fountain spray boat ski waterski wakeboard sprinkler pour body squirt fish bottl")
_YOUNG = _words("young small littl adult")
THINGS: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "dog": (("cat", "goat"), _BARKS), "dogs": (("cats", "goats"), _BARKS),
    "cat": (("dog", "rabbit"), _words("")), "horse": (("cow", "camel"), _words("jockey saddl")),
    "ball": (("stick", "frisbee"), _PLAYS), "frisbee": (("stick", "ball"), _words("")),
    "stick": (("ball", "frisbee"), _words("hockey")),
    "bike": (("scooter", "horse"), _words("dirt ramp stunt trick")),
    "bicycle": (("scooter", "horse"), _words("ramp stunt trick")),
    "motorcycle": (("horse", "bicycle"), _words("helmet racer")),
    "car": (("boat", "bus"), _words("driv park race rac")), "truck": (("bus", "boat"), _words("")),
    "snow": (("sand", "mud"), _WITH_SNOW), "sand": (("snow", "mud"), _words("castle beach")),
    "grass": (("snow", "sand"), _words("tall")), "water": (("snow", "mud"), _WITH_WATER),
    "beach": (("sidewalk", "lawn"), _SWIM | _words("sand wave ocean water ball sea at around along")),
    "street": (("beach", "field"), _words("car driv sign cross traffic")),
    "forest": (("parking lot", "desert"), _words("tre path")),
    "guitar": (("violin", "drum"), _words("")),
    "children": (("adults",), _YOUNG | {"school"}), "kids": (("adults",), _YOUNG),
    "child": (("adult",), _YOUNG | _words("mother father parent man woman lady")),
    "baby": (("old man",), _words("his her it its mother old little littl man woman swim swing crib")),
    "soccer": (("baseball", "basketball"), _SPORTS), "tennis": (("soccer", "basketball"), _SPORTS),
    "football": (("baseball", "tennis"), _SPORTS), "baseball": (("soccer", "tennis"), _SPORTS),
}  # fmt: skip
