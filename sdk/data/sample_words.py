"""The words of synthetic sentences. Every tuple holds synonyms, any of which can be used."""

PEOPLE = (
    ("teacher", "instructor"), ("doctor", "physician"), ("lawyer", "attorney"), ("cook", "chef"),
    ("officer", "policeman"), ("writer", "author"), ("pupil", "student"), ("worker", "employee"),
    ("scientist", "researcher"), ("painter", "artist"), ("manager", "boss"), ("thief", "burglar"),
    ("driver", "motorist"), ("sailor", "seaman"), ("farmer", "grower"), ("merchant", "trader"),
    ("boy", "lad"), ("nurse",), ("soldier",), ("singer", "vocalist"),
)  # fmt: skip
THINGS = (
    ("car", "automobile"), ("bicycle", "bike"), ("sofa", "couch"), ("photograph", "picture"), ("boat", "ship"),
    ("telephone", "phone"), ("present", "gift"), ("carpet", "rug"), ("bag", "sack"), ("lamp", "light"),
    ("coat", "jacket"), ("jewel", "gem"), ("book",), ("guitar",), ("ladder",), ("window",), ("cup", "mug"),
    ("clock",), ("table",), ("bottle",), ("piano",), ("computer",),
)  # fmt: skip
VERBS = (
    # (base, third person, past, participle) of each synonym
    (("buy", "buys", "bought", "bought"), ("purchase", "purchases", "purchased", "purchased")),
    (("repair", "repairs", "repaired", "repaired"), ("fix", "fixes", "fixed", "fixed")),
    (("hide", "hides", "hid", "hidden"), ("conceal", "conceals", "concealed", "concealed")),
    (("find", "finds", "found", "found"), ("discover", "discovers", "discovered", "discovered")),
    (("clean", "cleans", "cleaned", "cleaned"), ("wash", "washes", "washed", "washed")),
    (("break", "breaks", "broke", "broken"), ("smash", "smashes", "smashed", "smashed")),
    (("carry", "carries", "carried", "carried"), ("haul", "hauls", "hauled", "hauled")),
    (("sell", "sells", "sold", "sold"),),
    (("steal", "steals", "stole", "stolen"),),
    (("paint", "paints", "painted", "painted"),),
    (("borrow", "borrows", "borrowed", "borrowed"),),
    (("lose", "loses", "lost", "lost"), ("misplace", "misplaces", "misplaced", "misplaced")),
)
PLACES = (
    ("in the park",), ("near the river", "by the river"), ("at the station",), ("behind the school",),
    ("in the kitchen",), ("at the market",), ("in the forest", "in the woods"), ("on the beach", "at the seaside"),
    ("in the hotel",), ("outside the church",), ("at the airport",), ("in the cellar", "in the basement"),
    ("on the bridge",), ("in the library",),
)  # fmt: skip
TIMES = (
    ("yesterday",), ("last week",), ("on Monday",), ("on Friday",), ("this morning",), ("last summer",),
    ("before dawn", "before sunrise"), ("at midnight",), ("two years ago",), ("in October",), ("during the storm",),
    ("after lunch",),
)  # fmt: skip
KINDS = {"car": "vehicle", "bicycle": "vehicle", "boat": "vehicle", "guitar": "instrument", "piano": "instrument"}
NAMES = (
    "Anna", "Maria", "Julia", "Helen", "Sarah", "Laura", "Emma", "Alice", "Clara", "Nina", "Rosa", "Diana", "Irene",
    "Paula", "Vera", "Martha", "Ruth", "Ida", "Eva", "Lucy", "Nora", "Jane", "Olga", "Tina", "Mona",
)  # fmt: skip
MODIFIERS = (
    "old", "young", "tall", "tired", "clever", "quiet", "happy", "angry", "famous", "lazy", "brave", "poor", "rich",
    "nervous",
)  # fmt: skip

GOOD = (
    "brilliant", "wonderful", "moving", "delightful", "hilarious", "gripping", "charming", "superb", "touching",
    "inspired", "fresh", "thrilling", "beautiful", "warm", "clever", "unforgettable", "elegant", "captivating",
)  # fmt: skip
BAD = (
    "dull", "boring", "terrible", "clumsy", "predictable", "lifeless", "awful", "tedious", "shallow", "bland",
    "annoying", "stale", "ugly", "pointless", "messy", "forgettable", "wooden", "disappointing",
)  # fmt: skip
FILM_PARTS = (
    "film", "movie", "plot", "script", "acting", "story", "dialogue", "ending", "music", "cast", "direction", "comedy",
    "camera work", "first half", "romance", "lead performance", "thriller", "documentary",
)  # fmt: skip
GOOD_ENDINGS = (
    "i loved every minute", "it stays with you for days", "it deserves every award", "see it twice",
    "the audience cheered", "it made my week", "a real triumph", "well worth your evening",
)  # fmt: skip
BAD_ENDINGS = (
    "i wanted my money back", "it goes nowhere for two hours", "half the audience left", "avoid it",
    "i nearly fell asleep", "a complete waste of talent", "it ruined my evening", "nothing in it works",
)  # fmt: skip

AIMS = (
    ("learn French", "pick up French"), ("play chess well", "become good at chess"),
    ("lose weight", "get rid of extra pounds"), ("cook rice", "prepare rice"), ("repair a laptop", "fix a laptop"),
    ("save money", "put money aside"), ("sleep better", "improve my sleep"), ("quit smoking", "stop smoking"),
    ("train a puppy", "teach a young dog"), ("grow tomatoes", "raise tomato plants"),
    ("find a job abroad", "get work in another country"), ("write a novel", "become the author of a novel"),
    ("travel to Japan", "make a trip to Japan"), ("buy a used car", "purchase a second-hand car"),
    ("remove a wine stain", "get a wine stain out"), ("learn the piano", "start playing the piano"),
    ("prepare for a marathon", "train for a marathon"), ("start a company", "found a business"),
    ("speed up my phone", "make my phone faster"), ("overcome stage fright", "lose the fear of speaking in public"),
    ("invest in shares", "put money into stocks"), ("study physics", "learn about physics"),
    ("paint a room", "give a room a coat of paint"), ("bake bread", "make bread at home"),
)  # fmt: skip
QUESTIONS = (
    "How can I {}{}?", "How do I {}{}?", "What is the best way to {}{}?", "Is there an easy way to {}{}?",
    "What should I do to {}{}?", "What do I need in order to {}{}?", "Can anyone tell me how to {}{}?",
    "Which steps does it take to {}{}?",
)  # fmt: skip
CIRCUMSTANCES = (
    "", " quickly", " as a beginner", " without much money", " on my own", " in one month", " while working full time",
    " as a student", " after forty",
)  # fmt: skip

BECAUSE = (
    "because it was cheap", "because a friend had asked for it", "to surprise the neighbours", "for the third time",
    "after reading an advertisement", "without telling the family", "as part of a bet", "to please a cousin",
)  # fmt: skip

# Sentences with a pronoun that can mean either noun, what to say of the one meant, and the words that decide: with the
# first it is {0}, with the second {1}. In the pairs of nouns below, the kinds of things make it so.
_SEEKERS = (
    "patient", "pupil", "customer", "tourist", "guest", "client", "passenger", "beginner", "visitor", "recruit",
)  # fmt: skip
_HELPERS = ("doctor", "teacher", "baker", "guide", "waiter", "lawyer", "pilot", "coach", "librarian", "mechanic")
_GOODS = (
    "trophy", "violin", "statue", "painting", "kettle", "helmet", "vase", "drum", "globe", "printer",
)  # fmt: skip
_CASES = ("suitcase", "box", "drawer", "crate", "basket", "cupboard", "bag", "trunk", "locker", "chest")
PRONOUNS = (
    (
        _GOODS,
        _CASES,
        "the {0} does not fit into the {1} because it is too {2}.",
        "The {} is too {}.",
        ("large", "small"),
    ),
    (_GOODS, _CASES, "the {0} broke the {1} because it was too {2}.", "The {} was too {}.", ("heavy", "weak")),
    (_SEEKERS, _HELPERS, "the {0} asked the {1} because she {2}.", "The {} {}.", ("had no idea", "knew the answer")),
    (
        _SEEKERS,
        _HELPERS,
        "the {0} thanked the {1} because she had {2}.",
        "The {} had {}.",
        ("got help", "offered help"),
    ),
    (_SEEKERS, _HELPERS, "the {0} paid the {1} after she had {2}.", "The {} had {}.", ("been served", "done the work")),
    (_SEEKERS, _HELPERS, "the {0} chose the {1} because she {2}.", "The {} {}.", ("needed an expert", "was an expert")),
)
OPENINGS = ("", "once again ", "as expected ", "in the end ")
