"""Words that may stand for one another in a caption of a photograph, whichever of its senses a word has there.

Written by hand: a thesaurus lists what a word *can* mean, and without knowing the sense "a bank by the river" becomes
"a depository financial institution by the river". Each entry was read in captions, and what was wrong in one of them
is not here: few, but right. No entry touches a number's value, a colour, a negation or a name. No word leads back to
itself over others, so that x'' does not undo x'. Keys and values are lemmas; `rules.py` inflects them.
"""

NOUNS = {
    "man": ["guy", "fellow"], "guy": ["fellow"], "woman": ["lady"], "boy": ["lad"], "girl": ["lass"],
    "child": ["kid", "youngster"], "kid": ["youngster"], "people": ["folks"], "person": ["individual"],
    "baby": ["infant"], "toddler": ["very young child"], "friend": ["pal"], "pal": ["buddy"], "crowd": ["throng"],
    "team": ["squad"], "dog": ["canine", "pooch"], "canine": ["pooch"], "puppy": ["pup"],
    "bicycle": ["bike"], "bicyclist": ["cyclist"], "motorcycle": ["motorbike"],
    "car": ["automobile"], "boat": ["vessel"], "airplane": ["plane", "aircraft"],
    "sidewalk": ["pavement"], "path": ["trail"], "hill": ["slope"], "ocean": ["sea"],
    "beach": ["shore"], "woods": ["forest"], "forest": ["woodland"], "stream": ["creek"], "waterfall": ["cascade"],
    "photograph": ["photo"], "photo": ["picture"], "shirt": ["top"], "pants": ["trousers"], "sunglasses": ["shades"],
    "sweater": ["pullover"], "backpack": ["rucksack"], "rucksack": ["knapsack"], "purse": ["handbag"],
    "building": ["structure"], "store": ["shop"], "couch": ["sofa"], "bathroom": ["restroom"],
    "restroom": ["washroom"], "refrigerator": ["fridge"], "television": ["TV"], "cellphone": ["mobile phone"],
    "stunt": ["trick"], "boulder": ["big rock"],
}  # fmt: skip

# Of verbs without an object: what follows is a preposition, or the end.
INTRANSITIVE = {
    "walk": ["stroll"], "jump": ["leap"], "smile": ["grin"], "talk": ["chat"],
    "gather": ["assemble", "congregate"], "assemble": ["congregate"], "stare": ["gaze"], "shout": ["yell"],
    "hike": ["trek"], "nap": ["doze"], "wander": ["roam"], "rush": ["hurry"],
}  # fmt: skip
# Of verbs with one: an article follows, or the like.
TRANSITIVE = {
    "chase": ["pursue"], "throw": ["toss"], "climb": ["scale"], "hug": ["embrace"], "display": ["show"],
    "perform": ["do"], "watch": ["observe"],
}  # fmt: skip

ADJECTIVES = {
    "small": ["little"], "big": ["large"], "huge": ["enormous"], "happy": ["cheerful"], "beautiful": ["lovely"],
    "busy": ["bustling"], "colorful": ["multicolored"], "colourful": ["multicoloured"],
}  # fmt: skip
IDIOMS = {"smile", "grin", "air", "top", "wheel", "toe", "time", "screen", "brother"}  # "big" and "small" stay here
# What can be covered with grass or snow; not a "snowy day".
GROUND = {
    "hill", "hillside", "mountain", "mountainside", "slope", "field", "path", "road", "trail", "ground", "mountaintop",
    "bank", "landscape", "area", "forest", "hills", "mountains", "slopes", "meadow", "park", "yard", "street", "plain",
}  # fmt: skip

# Words and phrases that are not inflected.
PHRASES = {
    "several": ["a number of"], "numerous": ["many"], "towards": ["toward"], "beside": ["next to"],
    "near": ["close to"], "under": ["beneath"], "underneath": ["beneath"], "atop": ["on top of"], "while": ["as"],
    "quickly": ["rapidly"], "seated": ["sitting"], "outside of": ["outside"], "in midair": ["in the air"],
    "a lot of": ["lots of"], "filled with": ["full of"], "covered in": ["covered with"], "dressed in": ["clad in"],
    "a group of": ["a bunch of"], "getting ready to": ["preparing to"], "gets ready to": ["prepares to"],
    "get ready to": ["prepare to"], "looking at": ["gazing at"], "looks at": ["gazes at"], "look at": ["gaze at"],
    "taking a picture of": ["photographing"], "takes a picture of": ["photographs"],
    "taking pictures of": ["photographing"], "at night": ["after dark"], "surrounded by": ["encircled by"],
    "trying to": ["attempting to"], "tries to": ["attempts to"], "down the street": ["down the road"],
    "down a street": ["down a road"], "along the street": ["along the road"], "across the street": ["across the road"],
    "on the street": ["on the road"], "laying on": ["lying on"], "laying in": ["lying in"],
    "swimming pool": ["pool"], "tennis shoes": ["sneakers"], "black and white": ["white and black"],
    "brown and white": ["white and brown"], "black and brown": ["brown and black"],
}  # fmt: skip

# Where scenes take place: a phrase that names one can stand at the start or the end of a caption.
PLACES = {
    "beach", "park", "street", "field", "grass", "snow", "water", "mountain", "hill", "road", "sidewalk",
    "forest", "woods", "ocean", "sea", "lake", "river", "pool", "yard", "backyard", "city", "kitchen", "room",
    "bedroom", "bathroom", "garden", "desert", "sand", "meadow", "playground", "stage", "court", "rink", "stadium",
    "track", "lawn", "shore", "creek", "stream", "pond", "restaurant", "store", "market", "gym", "office",
    "classroom", "trail", "hillside", "slope", "shop", "pavement", "woodland",
}  # fmt: skip
CLOTHES = {
    "shirt", "jacket", "coat", "dress", "uniform", "suit", "sweater", "costume", "outfit", "vest", "skirt",
    "shorts", "jeans", "pants", "wetsuit", "swimsuit", "bikini", "jersey", "robe", "hoodie", "top", "t-shirt",
    "sweatshirt", "tuxedo", "gown", "hat", "helmet",
}  # fmt: skip
# Verbs that are not said of a moment: "looks happy", not "is looking happy".
STATES = {
    "look", "have", "be", "appear", "seem", "contain", "belong", "know", "see", "love", "like", "want", "need", "own",
    "include", "resemble", "taste", "smell", "do", "can", "may", "must", "show", "feature", "surround", "fill",
    "cover", "lay",
}  # fmt: skip
