"""Synthetic rows for every task of GLUE, for demonstrations and tests without a network.

They have the columns and labels of the tasks and can be learned; their scores say nothing about GLUE.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

from pointsman.registry.errors import SettingsError, unknown

from ..tasks import glue_task
from . import sample_words as words

Row = tuple[tuple[str, ...], int | float]
"""The one or two texts of a row, and its class id or score."""

SIZES: Mapping[str, int] = MappingProxyType({"train": 2000, "validation": 400, "test": 200})
"""Rows of a split by default; mnli has as many in each of its validation and test splits."""


def generate(task_name: str, *, sizes: Mapping[str, int] = SIZES, seed: int = 0) -> dict[str, list[Row]]:
    """Generate the splits of a task of GLUE from synthetic sentences.

    The same arguments give the same rows in every process. No row occurs twice, in one split or in two. The sizes of
    classes differ by at most one row; the scores of stsb spread over 0 to 5. Every row has its label, also in test
    splits.

    Args:
        task_name: The task.
        sizes: Rows by ``train``, ``validation`` and ``test``; the default for those left out.
        seed: Determines the rows.

    Raises:
        TaskNotFoundError: GLUE has no task of that name.
        SettingsError: Sizes for other splits than train, validation and test, or more rows than can be generated.

    Examples:
        >>> (texts, label), *_ = generate("mrpc", sizes={"train": 4})["train"]
    """
    task = glue_task(task_name)
    if strange := sorted(set(sizes) - set(SIZES)):
        raise unknown(SettingsError, "split of the sample", strange[0], SIZES)
    sizes = {**SIZES, **sizes}
    names = ["train", *task.validation, *(name.replace("validation", "test") for name in task.validation)]
    make, kinds = _MAKERS[task.name]
    seen: set[tuple[str, ...]] = set()
    splits = {}
    for name in dict.fromkeys(names if task.trainable else task.validation):
        # A string seeds by its content, which gives the same in every process.
        random = Random(f"{seed}/{task.name}/{name}")
        rows: list[Row] = []
        misses = 0  # in a row
        wanted = sizes[name.split("_")[0]]
        while len(rows) < wanted:
            texts, label = make(random, len(rows) % kinds)
            misses += 1
            if texts not in seen:
                misses = 0
                seen.add(texts)
                rows.append((texts, label))
            elif misses > 2000:
                raise SettingsError(f"the sample of {task.name} cannot have {wanted} different rows; request fewer")
        random.shuffle(rows)
        splits[name] = rows
    return splits


@dataclass(frozen=True, kw_only=True)
class _Event:
    """A person, an action, a thing, a place and a time, each as an index into its list of words."""

    who: int
    verb: int
    thing: int
    place: int
    time: int


_SLOTS = {
    "who": words.PEOPLE,
    "verb": words.VERBS,
    "thing": words.THINGS,
    "place": words.PLACES,
    "time": words.TIMES,
}


def _event(random: Random) -> _Event:
    return _Event(**{slot: random.randrange(len(choices)) for slot, choices in _SLOTS.items()})


def _other(random: Random, event: _Event, slots: Sequence[str]) -> _Event:
    """Change the given slots of an event."""
    new = {}
    for slot in slots:
        shift = random.randrange(1, len(_SLOTS[slot]))
        new[slot] = (getattr(event, slot) + shift) % len(_SLOTS[slot])
    return _Event(**{**vars(event), **new})


def _tell(random: Random, event: _Event, *, form: str = "", parts: Sequence[str] = ("place", "time")) -> str:
    """Write an event as a sentence: in the active or passive voice or with time in front, in any of its synonyms."""
    who, thing = random.choice(words.PEOPLE[event.who]), random.choice(words.THINGS[event.thing])
    _, _, past, participle = random.choice(words.VERBS[event.verb])
    place, time = random.choice(words.PLACES[event.place]), random.choice(words.TIMES[event.time])
    tail = "".join(f" {words_of}" for part, words_of in (("place", place), ("time", time)) if part in parts)
    form = form or random.choice(("active", "passive", "fronted"))
    if form == "passive":
        return f"The {thing} was {participle} by the {who}{tail}."
    if form == "fronted" and "time" in parts:
        place = f" {place}" if "place" in parts else ""
        return f"{time[0].upper()}{time[1:]} the {who} {past} the {thing}{place}."
    return f"The {who} {past} the {thing}{tail}."


def _cola(random: Random, label: int) -> Row:
    noun, thing = random.choice(random.choice(words.PEOPLE)), random.choice(random.choice(words.THINGS))
    base, third, past, participle = random.choice(random.choice(words.VERBS))
    place, modifier = random.choice(random.choice(words.PLACES)), random.choice(words.MODIFIERS)
    name = random.choice(words.NAMES)
    sentence = random.choice(
        (
            f"the {modifier} {noun} {past} the {thing} {place}",
            f"the {noun} has {participle} the {thing} {place}",
            f"the {thing} was {participle} by the {modifier} {noun}",
            f"{name} thinks that the {noun} {third} the {thing} {place}",
            f"did the {modifier} {noun} {base} the {thing} {place}",
            f"the {noun} who {past} the {thing} is {modifier}",
            f"which {thing} did the {noun} {base} {place}",
            f"{name} wants to {base} the {thing} {place}",
        )
    ).split()
    if not label:
        _break_grammar(random, sentence)
    mark = "?" if sentence[0] in ("did", "which") else "."
    text = " ".join(sentence)
    return ((text[0].upper() + text[1:] + mark,), label)


def _break_grammar(random: Random, sentence: list[str]) -> None:
    """Make a sentence unacceptable, in place: articles after their nouns, words out of order, a word too many."""
    articles = [index for index, word in enumerate(sentence[:-1]) if word == "the"]
    kind = random.choice(("article", "article", "order", "order", "double", "verb"))
    if kind == "article":
        for index in articles:
            sentence[index], sentence[index + 1] = sentence[index + 1], sentence[index]
    elif kind == "order":
        start = random.randrange(len(sentence) - 3)
        part = sentence[start : start + 4]
        sentence[start : start + 4] = [part[2], part[0], part[3], part[1]]
    elif kind == "double":
        index = random.choice(articles)
        sentence[index : index + 1] = ["the", random.choice(("of", "is", "and", "to")), "the"]
    else:
        thirds = {form: forms[1] for verbs in words.VERBS for forms in verbs for form in forms}
        sentence[:] = [f"is {thirds[word]}" if word in thirds else word for word in sentence]


def _sst2(random: Random, label: int) -> Row:
    own, opposite = (words.GOOD, words.BAD) if label else (words.BAD, words.GOOD)
    ending = random.choice(words.GOOD_ENDINGS if label else words.BAD_ENDINGS)
    first, second = random.sample(own, 2)
    part, other = random.sample(words.FILM_PARTS, 2)
    text = random.choice(
        (
            f"the {part} is {first} and the {other} is {second}",
            f"{_a(first)} {part} with {_a(second)} {other}",
            f"this {part} is anything but {random.choice(opposite)} : {ending}",
            f"{first} from start to finish , with {_a(second)} {part}",
            f"{ending} , thanks to the {first} {part}",
            f"what {_a(first)} , {second} {part}",
            f"the {part} could hardly be more {first} ; {ending}",
        )
    )
    return ((text,), label)


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _mrpc(random: Random, label: int) -> Row:
    event = _event(random)
    changed = random.choice((("who", "thing"), ("who", "verb"), ("verb", "thing"), ("who", "verb", "thing")))
    other = event if label else _other(random, event, changed)
    first, second = random.sample(("active", "passive", "fronted"), 2)
    return ((_tell(random, event, form=first), _tell(random, other, form=second)), label)


def _stsb(random: Random, equal: int) -> Row:
    event = _event(random)
    other = _other(random, event, random.sample(list(_SLOTS), 5 - equal))
    texts = _tell(random, event), _tell(random, other)
    # Synonyms make a pair a little less similar.
    first, second = ({word.lower().strip(".") for word in text.split()} for text in texts)
    share = len(first & second) / len(first | second)
    return (texts, round(min(5.0, max(0.0, equal - 0.4 * (1 - share))), 1))


def _qqp(random: Random, label: int) -> Row:
    aim = random.randrange(len(words.AIMS))
    other = aim if label else (aim + random.randrange(1, len(words.AIMS))) % len(words.AIMS)
    first, second = random.sample(words.QUESTIONS, 2)
    circumstance = random.choice(words.CIRCUMSTANCES)
    return (
        (
            first.format(random.choice(words.AIMS[aim]), circumstance),
            second.format(random.choice(words.AIMS[other]), circumstance),
        ),
        label,
    )


def _nli(random: Random, label: int) -> Row:
    event = _event(random)
    who, thing = words.PEOPLE[event.who][0], words.THINGS[event.thing][0]
    base, _, past, participle = words.VERBS[event.verb][0]
    premise = _tell(random, event)
    if label == 0:
        hypothesis = random.choice(
            (
                _tell(random, event, parts=()),
                _tell(random, event, parts=("place",), form="passive"),
                f"Somebody {past} a {words.KINDS.get(thing, thing)}.",
                f"A {words.KINDS.get(thing, thing)} was {participle} {words.PLACES[event.place][0]}.",
            )
        )
    elif label == 1:
        hypothesis = f"The {who} {past} the {thing} {random.choice(words.BECAUSE)}."
    else:
        hypothesis = random.choice(
            (
                f"Nobody {past} the {thing} {words.PLACES[event.place][0]}.",
                f"The {who} did not {base} the {thing}.",
                f"The {thing} was not {participle} by anyone.",
                f"The {who} never {past} anything {words.TIMES[event.time][0]}.",
            )
        )
    return ((premise, hypothesis), label)


def _rte(random: Random, label: int) -> Row:
    event, aside = _event(random), _event(random)
    premise = [_tell(random, event), _tell(random, aside)]
    random.shuffle(premise)
    changed = random.choice((("who", "thing"), ("verb", "thing"), ("who", "verb", "thing")))
    told = event if label == 0 else _other(random, event, changed)
    return ((" ".join(premise), _tell(random, told, parts=())), label)


def _qnli(random: Random, label: int) -> Row:
    event = _event(random)
    who, thing = words.PEOPLE[event.who][0], words.THINGS[event.thing][0]
    base, _, past, _ = words.VERBS[event.verb][0]
    asked, question = random.choice(
        (
            ("place", f"Where did the {who} {base} the {thing}?"),
            ("time", f"When did the {who} {base} the {thing}?"),
            ("who", f"Who {past} the {thing} {words.PLACES[event.place][0]}?"),
            ("thing", f"What did the {who} {base} {words.TIMES[event.time][0]}?"),
        )
    )
    if label == 0:
        parts = [asked] if asked in ("place", "time") else ["place", "time"]
        return ((question, _tell(random, event, parts=parts)), label)
    # The same words without the answer, or another event.
    if asked in ("place", "time") and random.random() < 0.5:
        return ((question, _tell(random, event, parts=[{"place": "time", "time": "place"}[asked]])), label)
    return ((question, _tell(random, _other(random, event, ("who", "verb", "thing")))), label)


def _wnli(random: Random, label: int) -> Row:
    firsts, seconds, sentence, claim, deciding = random.choice(words.PRONOUNS)
    pair = random.choice(firsts), random.choice(seconds)
    # Mostly the first noun is right: if both were as likely, a small encoder would learn nothing.
    meant = int(random.random() < 0.25)
    named = meant if label else 1 - meant
    text = random.choice(words.OPENINGS) + sentence.format(*pair, deciding[meant])
    return ((text[0].upper() + text[1:], claim.format(pair[named], deciding[meant])), label)


_MAKERS: Mapping[str, tuple[Callable[[Random, int], Row], int]] = MappingProxyType(
    {
        # the function that makes a row of a class (stsb: with a number of equal slots), and the number of classes
        "cola": (_cola, 2),
        "sst2": (_sst2, 2),
        "mrpc": (_mrpc, 2),
        "stsb": (_stsb, 6),
        "qqp": (_qqp, 2),
        "mnli": (_nli, 3),
        "qnli": (_qnli, 2),
        "rte": (_rte, 2),
        "wnli": (_wnli, 2),
        "ax": (_nli, 3),
    }
)
