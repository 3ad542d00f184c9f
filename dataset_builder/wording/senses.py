"""English words that exclude each other in a caption, or mean the same. Written by hand, and only where it is certain.

In `CONTRASTS` one text is one contrast. A slash separates its senses, and a space the words of a sense; an underscore
is a space in a phrase. `+` adds the plural of a noun and `*` the inflections of a verb. A word with `~` can account
for a sense, but its own loss proves nothing: "ginger" may be red, and may be a root. A word may be in several senses:
what is teal is blue or green.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The key of a contrast is the reason that is counted.
CONTRASTS = {
    "gender": [
        "man+ men guy+ gentleman gentlemen boy+ lad+ male+ father+ dad+ daddy husband+ son+ brother+ king+ prince+ "
        "groom+ bridegroom+ waiter+ uncle+ nephew+ grandfather+ grandpa+ grandson+ fellow+ bloke+ chap+ dude+ actor+ "
        "businessman businessmen boyfriend+ he him his himself / woman women lady+ girl+ gal+ lass+ female+ mother+ "
        "mom+ mum+ mommy mummy wife wives daughter+ sister+ queen+ princess+ bride+ waitress+ aunt+ niece+ "
        "grandmother+ grandma+ granddaughter+ actress+ ballerina+ bridesmaid+ businesswoman businesswomen nun+ "
        "girlfriend+ she her hers herself",
    ],
    "colours": [
        "red ~reddish ~crimson ~scarlet ~ruby ~maroon ~burgundy ~vermilion ~cherry ~redhead ~redheaded ~auburn "
        "~ginger ~rust ~rusty ~rosy ~russet ~brick ~copper ~coral / blue ~bluish ~azure ~navy ~sapphire ~cobalt "
        "~turquoise ~teal ~aqua ~cyan ~indigo ~denim / green ~greenish ~emerald ~olive ~lime ~teal ~turquoise ~mint "
        "~khaki ~grassy ~leafy ~aqua / yellow ~yellowish ~golden ~gold ~blond ~blonde ~lemon ~amber ~mustard ~straw "
        "~sandy ~cream ~tan ~fair / orange ~orangish ~tangerine ~amber ~ginger ~rust ~rusty ~apricot ~peach ~copper "
        "~golden ~coral / black ~blackish ~ebony ~onyx ~jet ~dark ~inky ~sable ~raven ~charcoal / white ~whitish "
        "~ivory ~cream ~creamy ~pale ~snowy ~pearl ~milky ~light ~blond ~blonde ~fair ~snow ~beige ~silver / brown "
        "~brownish ~tan ~beige ~chestnut ~chocolate ~tawny ~bronze ~copper ~khaki ~brunette ~fawn ~hazel ~mahogany "
        "~russet ~sandy ~caramel ~coffee ~golden ~rust ~rusty ~auburn ~ginger ~dark ~blond ~blonde ~tanned ~liver / "
        "grey gray ~greyish ~grayish ~silver ~silvery ~ash ~charcoal ~slate ~gunmetal ~pewter ~dark ~steel / purple "
        "~purplish ~violet ~lavender ~lilac ~mauve ~plum ~magenta ~maroon ~indigo / pink ~pinkish ~rose ~rosy "
        "~salmon ~fuchsia ~magenta ~coral ~peach",
    ],
    "things": [
        "dog+ puppy+ pup+ doggy+ canine+ hound+ pooch+ mutt+ ~retriever+ ~labrador+ ~lab+ ~poodle+ ~terrier+ ~pug+ "
        "~beagle+ ~dalmatian+ ~greyhound+ ~husky ~huskies ~spaniel+ ~collie+ ~sheepdog+ ~bulldog+ ~chihuahua+ "
        "~dachshund+ ~corgi+ ~pit_bull+ ~mastiff+ ~setter+ ~pointer+ ~schnauzer+ ~rottweiler+ ~malamute+ ~shepherd+ "
        "~boxer+ ~pitbull+ / cat+ kitten+ feline+ kitty+ tabby+ / horse+ pony+ mare+ stallion+ foal+ ~colt+ ~steed+ "
        "~horseback ~equine+ / donkey+ mule+ / cow+ bull+ ~calf ~calves cattle ox oxen ~steer+ ~bovine+ / sheep "
        "lamb+ ~ram+ ~ewe+ / goat+ / pig+ piglet+ hog+ ~swine / rabbit+ bunny+ ~hare+ / squirrel+ / mouse mice rat+ "
        "/ deer stag+ fawn+ elk / elephant+ / giraffe+ / zebra+ / lion+ lioness+ ~cub+ ~cat+ / tiger+ ~cub+ ~cat+ / "
        "leopard+ cheetah+ ~cat+ / bear ~bears ~cub+ ~panda+ / panda+ / wolf wolves / fox foxes / monkey+ ape+ "
        "gorilla+ chimpanzee+ / camel+ / kangaroo+ / frog+ toad+ / snake+ / turtle+ tortoise+ / crocodile+ "
        "alligator+ / whale+ / dolphin+ / shark+ / bird+ chick+ ~duck+ ~duckling+ ~goose ~geese ~swan+ ~pigeon+ "
        "~dove+ ~seagull+ ~gull+ ~eagle+ ~owl+ ~parrot+ ~chicken+ ~hen+ ~rooster+ ~crow+ ~hawk+ ~heron+ ~flamingo+ "
        "~fowl ~feathered / butterfly+ ~insect+ / bee+ ~insect+ / spider+",
        "duck+ duckling+ / goose geese / swan+ / pigeon+ ~dove+ / ~seagull+ gull+ / eagle+ / owl+ / parrot+ / "
        "chicken+ hen+ rooster+ / flamingo+ / heron+ / penguin+",
        "car+ automobile+ ~taxi+ ~cab+ ~sedan+ ~suv+ ~jeep+ ~vehicle+ ~convertible+ / bus buses ~coach ~vehicle+ / "
        "train+ locomotive+ ~subway ~metro ~tram+ ~railway_car+ ~rail_car+ ~train_car+ / truck+ lorry lorries "
        "~pickup+ ~vehicle+ ~suv+ ~rig+ / motorcycle+ motorbike+ ~bike+ ~moped+ ~chopper+ ~dirtbike+ ~vehicle+ / "
        "bicycle+ ~bike+ ~cycle+ ~tricycle+ / boat+ ship+ ~vessel+ ~canoe+ ~kayak+ ~raft+ ~sailboat+ ~ferry ~yacht+ "
        "~rowboat+ ~craft / airplane+ aeroplane+ ~plane+ ~jet+ ~aircraft ~craft / helicopter+ ~chopper+ ~aircraft / "
        "tractor+ / tram+",
        "kitchen+ / bathroom+ ~restroom+ ~washroom+ / bedroom+ / living_room+ ~lounge / classroom+ / garage+ / "
        "office+ / dining_room+",
        "bed+ ~mattress / couch couches sofa+ / desk+ ~table+ / chair+ ~seat+ ~stool+ / bench benches ~seat+ / "
        "table+ ~tabletop ~countertop",
        "pizza+ / sandwich sandwiches ~burger+ / burger+ hamburger+ ~cheeseburger+ / hot_dog+ ~frankfurter+ / cake+ "
        "~cupcake+ / salad+ / soup+ / donut+ doughnut+ / cookie+ / spaghetti ~pasta ~noodles / ice_cream ~popsicle+ "
        "/ bread ~toast ~loaf",
        "apple+ / banana+ / pear+ / strawberry strawberries / grape+ / lemon+ / watermelon+ / pineapple+ / cherries "
        "/ carrot+ / broccoli / tomato tomatoes / potato potatoes / onion+",
        "beer+ / wine / coffee / tea / milk / ~soda ~coke",
        "fork+ / spoon+ / ~knife ~knives / chopstick+",
        "wooden ~wood ~timber / metal metallic ~steel ~iron ~aluminum / plastic / ~glass / stone ~rock ~stony "
        "~marble / brick / concrete ~cement ~stone / leather / cardboard",
        "round circular / square rectangular / triangular",
        "striped stripes ~stripy ~banded / plaid checkered checked chequered ~tartan / polka_dot polka_dotted "
        "polka_dots spotted dotted / floral flowered flowery",
        "~pants ~trousers jeans / shorts / skirt+",
        "sandals ~flip_flops / boots / sneakers ~trainers",
        "helmet+ / ~hat+ ~cap+ / scarf scarves ~bandana+ / headphones",
        "frisbee+ ~disc ~disk / kite+ / ball+ ~basketball ~baseball ~soccer ~football / balloon+",
        "lake+ ~pond+ / ocean+ sea+ / river+ stream+ creek+ / ~pool+",
        "laptop+ ~computer+ / cellphone+ ~phone+ ~telephone+ / camera+ ~phone+",
        "church churches / castle+ / hospital+ / school+ / airport+ / library libraries / museum+",
    ],
    "activities": [
        "basketball / baseball / soccer ~football / rugby ~football / tennis / golf* golfer+ / hockey / volleyball / "
        "badminton / cricket / surfing surfer+ surfboard+ / skateboard* skateboarder+ / snowboard* snowboarder+ / "
        "skiing skier+ skis / ~bowling",
        "guitar+ guitarist+ / piano+ pianist+ / violin+ violinist+ fiddle+ / drum+ drummer+ / trumpet+ / flute+ / "
        "saxophone+ / cello+ cellist+ / harp+ / accordion+",
        "sit* sat sitting seated / stand* stood standing",
    ],
    "directions": [
        "left leftmost / right rightmost",
        "northern ~north northward northwards / southern ~south southward southwards",
        "north / south / east / west",
        "eastern eastward eastwards ~east / western westward westwards ~west",
        "inside indoors indoor within ~in ~into / outside outdoors outdoor ~out",
        "up ~upward ~upwards uphill ascend* ~climb* ~scale* / down ~downward ~downwards downhill descend*",
        "above over on_top_of atop ~on ~upon ~overhead / below under beneath underneath underside ~beneath",
        "top / bottom",
        "in_front_of front ~before / behind back rear ~backside",
        "toward towards ~to / away_from away",
        "forward forwards ahead / backward backwards",
    ],
    "opposites": [
        "big bigger large larger huge giant enormous gigantic massive oversized / small smaller little tiny miniature",
        "old elderly aged ancient ~older ~senior ~grandfather ~grandmother / young youthful teenage teenaged "
        "adolescent ~younger",
        "old ancient vintage antique ~older / new modern ~newer",
        "tall taller / short shorter low ~small ~little",
        "high ~tall / low",
        "long longer / short shorter brief",
        "wide broad / narrow",
        "thick ~wide ~fat / thin slim ~narrow",
        "fat overweight chubby obese / thin slim skinny slender",
        "hot warm steaming boiling / cold cool chilly icy freezing frozen iced",
        "wet soaked drenched soaking damp / dry",
        "open opened opening ~unlocked / closed shut ~locked",
        "full filled / empty emptied",
        "crowded packed busy bustling ~full / empty deserted vacant abandoned ~quiet",
        "clean spotless tidy / dirty filthy grimy messy muddy ~soiled",
        "happy cheerful joyful smiling smile+ grinning laughing laugh+ ~happily delighted / sad unhappy crying cry "
        "cries weeping frowning frown+ scowling sobbing ~sadly",
        "fast quick quickly rapidly speedy ~swiftly / slow slowly",
        "deep / shallow shallows",
        "rich wealthy / poor",
        "strong / weak",
        "loud noisy / quiet silent",
        "hard / soft",
        "rough choppy / smooth calm",
        "asleep sleeping sleep+ napping ~dozing ~snoozing / awake",
        "alive living / dead lifeless",
        "first / last final",
        "early / late",
        "push* shove* / pull* drag* tug* haul*",
        "enter* ~arrive* / exit* ~leave ~leaves ~leaving",
        "arrive* / depart*",
        "win wins winning won / lose loses losing lost",
        "buy buys buying bought purchase* / sell sells selling sold",
        "give gives giving gave / take takes taking took receive*",
        "dressed clothed / naked nude undressed",
        "healthy / sick ill",
        "straight / crooked curly curved bent",
        "near close_to ~next_to ~beside ~close / far_from ~far",
        "many numerous ~lots / ~few",
    ],
    "times": [
        "day+ daytime daylight ~sunny ~sunlit ~morning ~afternoon ~noon / night+ nighttime ~dark ~after_dark "
        "~midnight ~evening ~nightfall ~moonlit ~moonlight",
        "morning+ ~dawn ~sunrise ~breakfast / noon midday ~day / afternoon+ ~day / evening+ ~dusk ~sunset ~night "
        "~nightfall ~twilight ~sundown ~dark / midnight ~night / ~dinner",
        "dawn sunrise daybreak ~morning / sunset sundown dusk nightfall ~evening ~twilight",
        "spring springtime / summer summertime ~summery / autumn fall autumnal / winter wintertime wintry ~snowy "
        "~snow",
        "monday+ / tuesday+ / wednesday+ / thursday+ / friday+ / saturday+ / sunday+",
        "january / february / march / april / may / june / july / august / september / october ~halloween / november "
        "/ december ~christmas",
        "christmas xmas / easter / halloween / thanksgiving",
        "sunny sunlit ~sun ~sunshine ~clear ~bright ~sunlight / rainy rain raining ~wet ~storm ~stormy / snowy "
        "snowing ~snow ~wintry ~winter / foggy misty ~fog ~mist / cloudy overcast ~clouds / stormy ~storm ~rain",
        "before / after",
    ],
    "places": [
        "paris ~parisian / london ~londoners / new_york nyc ~manhattan ~brooklyn / chicago / los_angeles ~hollywood "
        "/ san_francisco / boston / seattle / miami / las_vegas / washington / rome ~roman / venice ~venetian / "
        "florence / milan / madrid / barcelona / lisbon / berlin / munich / hamburg / vienna / prague / budapest / "
        "amsterdam / brussels / copenhagen / stockholm / oslo / helsinki / moscow / istanbul / athens / dublin / "
        "edinburgh / glasgow / manchester / liverpool / tokyo / kyoto / osaka / beijing / shanghai / hong_kong / "
        "singapore / bangkok / seoul / mumbai / delhi / dubai / cairo / sydney / melbourne / toronto / vancouver / "
        "montreal / mexico_city / rio_de_janeiro ~rio / buenos_aires / havana / cape_town / jerusalem / marrakech",
        "france french ~paris ~parisian / england english british britain uk united_kingdom ~london / scotland "
        "scottish ~edinburgh / ireland irish ~dublin / usa america american us united_states ~u.s. ~new_york / "
        "canada canadian / mexico mexican / brazil brazilian / argentina argentine argentinian / cuba cuban / spain "
        "spanish ~barcelona ~madrid / portugal portuguese / italy italian ~rome ~venice ~roman / germany german "
        "~berlin / austria austrian / switzerland swiss / netherlands dutch holland ~amsterdam / belgium belgian / "
        "denmark danish / sweden swedish / norway norwegian / finland finnish / poland polish / russia russian / "
        "ukraine ukrainian / greece greek / turkey turkish / egypt egyptian / morocco moroccan / kenya kenyan / "
        "india indian / china chinese / japan japanese ~tokyo ~kyoto / korea korean / thailand thai / vietnam "
        "vietnamese / indonesia indonesian ~bali / australia australian / new_zealand / iceland icelandic / nepal "
        "nepalese / tibet tibetan",
        "africa african / asia asian ~chinese ~japanese ~indian ~thai ~korean / europe european",
    ],
    "units": [
        "kg kgs kilo+ kilogram+ kilogramme+ / lb lbs pound+ / ounce+ oz / gram+ / ton+ tonne+",
        "km kms kilometer+ kilometre+ kph kmh km/h / mile+ mph mi / meter+ metre+ / yard+ / foot feet ft / inch "
        "inches / cm cms centimeter+ centimetre+ / mm millimeter+ millimetre+",
        "liter+ litre+ / gallon+ / pint+ / ml milliliter+ millilitre+",
        "dollar+ usd buck+ / euro+ eur / pound+ gbp quid / yen / rupee+ / cent+ ~penny ~pennies",
        "second+ sec secs / minute+ min mins / hour+ hr hrs / day+ / week+ / month+ / year+",
        "celsius / fahrenheit",
    ],
}

# Contrasts whose senses are one relation seen from either end: a lamp above a table, a table below a lamp.
INVERSES = ("above", "in_front_of", "left", "before", "buy", "give")

# Words for the same thing: a word that follows a colour in one text is looked for under these names in the other.
SAME = [
    "man guy fellow gentleman male dude bloke chap", "woman lady female", "boy lad", "girl lass gal",
    "child kid youngster tot", "baby infant", "dog canine hound pooch mutt puppy pup", "cat feline kitten kitty",
    "shirt top tee blouse t-shirt", "pants trousers slacks", "jacket coat parka", "dress gown frock", "hat cap",
    "shoe boot sneaker trainer", "couch sofa settee", "car automobile auto", "truck lorry pickup",
    "bike bicycle cycle", "motorcycle motorbike", "house home", "street road roadway", "boat vessel ship",
    "plane airplane aircraft jet",
    "rock stone boulder", "ball sphere", "horse pony", "ocean sea", "beach shore seashore", "grass lawn turf",
    "field meadow", "picture photo photograph", "bag sack", "cup mug", "plate dish", "shelf ledge", "woods forest",
]  # fmt: skip

# Persons and animals, which can be counted together and do things to one another; besides those in CONTRASTS.
BEINGS = _words(
    "person human individual child kid youngster toddler tot baby infant youth teen teenager adolescent adult senior "
    "elder student pupil teacher friend buddy pal mate companion sibling twin cousin parent relative family stranger "
    "player athlete runner jogger racer rider biker cyclist bicyclist motorcyclist skater skateboarder boarder "
    "snowboarder skier surfer swimmer diver climber hiker walker dancer singer musician guitarist drummer performer "
    "artist painter photographer worker officer policeman policewoman cop guard soldier fireman firefighter chef "
    "cook doctor nurse farmer fisherman angler vendor seller shopper customer tourist visitor passenger driver pilot "
    "sailor spectator onlooker bystander pedestrian gymnast wrestler boxer batter pitcher catcher goalie referee "
    "coach cowboy clown someone somebody animal creature pet beast spaniel collie sheepdog greyhound husky labrador "
    "lab retriever poodle terrier pug beagle dalmatian shepherd mountaineer snowmobiler rollerblader golfer busker "
    "tyke newborn competitor rival opponent teammate participant mama"
)

NO_BEINGS = _words("he him his himself she her hers herself feathered horseback insect insects")

# ----------------------------------------------------------------------------------------------------------- numbers
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_SMALL += " seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBERS = dict(zip(_SMALL.split(" "), range(20))) | dict(zip(_TENS.split(" "), range(20, 100, 10)))
NUMBERS |= {
    "pair": 2, "duo": 2, "twosome": 2, "trio": 3, "threesome": 3, "triplets": 3, "quartet": 4, "foursome": 4,
    "quintet": 5, "fivesome": 5, "sextet": 6, "septet": 7, "octet": 8,
}  # fmt: skip
SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6}
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth"
ORDINALS = {word: number for number, word in enumerate(_ORDINALS.split(" "), start=1)}
# They may speak of two, but need not: "a couple" is two people, and "both hands" are hands.
TWO = _words("couple couples both twin twins double each either parents newlyweds spouses lovers opposing alike")
ONE_MORE = _words("another other 1 second third fellow companion partner rival opponent")
# What comes in twos: "a pair of boots" is no count.
PAIRED = _words(
    "hand arm leg foot feet eye ear paw palm fist finger thumb limb knee ankle shoulder lip wing wheel shoe boot "
    "sock ski glove mitten sandal sneaker jeans pants trouser trousers shorts tights leggings glasses sunglasses "
    "goggles spectacles binoculars scissors headphones crutch crutches earring roller skate pole tire tyre chopstick "
    "stick"
)

# -------------------------------------------------------------------------------------------------- function words
DETERMINERS = _words("a an the his her its their my your our this that these those some any each every another")
AFTER_RELATIONS = DETERMINERS | _words("hand side")  # "on the left-hand side of the bed"
FUNCTION_WORDS = DETERMINERS | _words(
    "other and or but nor while as who whom which whose whilst where when is are was were be been being am do does "
    "did has have had having will would can could may might must in on at by near through across along beside down "
    "up over under into with of from to for behind around before after above below beneath underneath inside outside "
    "during against between among off out about next past toward towards upon onto within without atop amid "
    "alongside via per than so then there here it he she they him them himself herself itself themselves we you i "
    "not no one ones also just both either neither away together in_front_of on_top_of away_from close_to next_to"
)

# ------------------------------------------------------------------------------------- what a word's neighbours tell
_OF_A_TIME = _words("in of last this early late mid during since until")
# A word has its senses only after or before one of these ...
ONLY_AFTER = {
    "may": _OF_A_TIME, "march": _OF_A_TIME, "spring": _OF_A_TIME | _words("the a"), "fall": _OF_A_TIME | _words("the"),
    "back": _words("the"), "turkey": _words("in from"), "us": _words("the"),
}  # fmt: skip
ONLY_BEFORE = {"back": _words("of"), "front": _words("of door seat row yard")}
# ... or not after or before one of these: a year old, someone who left, ankle deep; right now, a high chair.
NOT_AFTER = {
    "old": _words("year years month months week weeks day days"),
    "left": _words("has have had just was been being and"),
    "few": _words("a"),
    "stands": _words("the"),
    "long": _words("as so"),
    "deep": _words("ankle knee waist chest neck feet foot inches"),
}
NOT_BEFORE = {
    "left": DETERMINERS | _words("in behind over alone"),
    "right": _words("now next_to next behind in_front_of by on_top_of up before beside"),
    "high": _words("chair school five fives heels heel"),
    "tennis": _words("ball balls shoe shoes"),
    "under": _words("way construction attack arrest"),
}
# A text that leaves these out says no less: "up the road" is along it, and "a little boy" is a boy.
UP_AND_DOWN = _words("stair step ladder hill slope mountain cliff slide escalator ramp wall tree pole hillside")
YOUNG = _words("boy girl child baby toddler teen")

# ---------------------------------------------------------------------------------------------------------- negation
NEGATIONS = _words("no not never without nobody none nothing nowhere neither nor lack lacks lacking cannot")
WITHOUT = _words("no without neither nor lack lacks lacking")  # of these, the ones that a thing follows
WITHOUT_OF = _words("free devoid bereft absence empty")  # and with "of"
# "homeless" and "sleeveless" are words of their own, which a paraphrase may put without a negation.
WORDS_IN_LESS = _words(
    "home back life sleeve collar air strap end sense wire count price use help rest tire time seam speech breath "
    "motion hope harm fear age cord worth care reck point effort cloud hair leaf tooth need doubt shirt shoe hat"
)
# What can say that something is not there, or is not done (a regular expression of one word).
ABSENCE = (
    r"\w{3,}less|bare\w*|un(?!der|til|ti|i|cle)\w{3,}|dis\w{4,}|in(?:active|complete|visible|attentive)|impossible"
    r"|bald|naked|nude|topless|empty|vacant|deserted|abandoned|clear(?:ed)?|free|missing|absent|lost|removed|off|closed"
    r"|shut|dead|still|motionless|blank|stoic|serious|sober|plain|alone|lone|lonely|single|only|solo|solitary|instead"
    r"|fails?|failing|refus\w+|miss(?:es|ed)|ignor\w+|disregard\w*|prevent\w*|forbid\w*|bans?|banned|banning"
    r"|prohibit\w*|avoid\w*|releas\w+"
)

# ------------------------------------------------------------------------------------------------------------- roles
# Between two that stand so, neither does anything to the other: a boy runs with a girl.
TOGETHER = _words("with and alongside beside near next_to together while as , but who that")
BE = _words("is are was were be been being gets get")
PARTICIPLES = _words("held led caught thrown thrust hit bit bitten fed taught kept put pulled seen drawn shown sent")
