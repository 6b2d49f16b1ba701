"""Concepts: what a phrase means, and which sprites of a scene it is true of.

A concept is a noun and, if any, a colour. A noun may be a name, a synonym or a category word; it is true of every
symbol that carries it, so a word that several symbols share matches all of them. Where the truth is not plain (a
symbol without a colour word is asked for by colour, a teddy bear is in sight and "bear" is asked) it is left open, and
nothing is asked.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

from masklet.model.tokenizer import whole_words
from masklet.synthetic.cast import Actor, Shown
from masklet.synthetic.grammar import plural, without_determiner
from masklet.synthetic.symbols import COLOURS, Symbol, is_held_out_colour

# Nouns that a reader may or may not extend to these symbols: with one of them in sight the noun is not asked.
_DOUBTFUL: dict[str, frozenset[str]] = {
    noun: frozenset(names.split("; "))
    for noun, names in {
        "animal": "dragon; unicorn; teddy bear; feather; nest with eggs; ghost; alien",
        "bag": "money bag",
        "bear": "teddy bear; panda; koala",
        "bird": "feather; nest with eggs",
        "body part": "feather",
        "bread": "croissant; pretzel; sandwich; hamburger; hot dog; stuffed flatbread",
        "building": "tent; fountain; statue of liberty; shinto shrine; ferris wheel",
        "camera": "film projector",
        "clothing": "glasses; sunglasses; crown; rescue helmet; military helmet; backpack; umbrella",
        "dessert": "chocolate bar; candy; lollipop; salad; waffle; pancakes; croissant",
        "dragon": "sauropod; t-rex; lizard",
        "drink": "baby bottle; teapot; honey pot",
        "electronic device": "battery; flashlight; microphone; headphones; light bulb; watch; alarm clock; robot",
        "elephant": "mammoth",
        "fast food": "chicken leg; popcorn; noodle soup",
        "flower": "four leaf clover",
        "food": "mushroom; baby bottle; cup of coffee; cup with straw; bubble tea; four leaf clover; mate",
        "fruit": "chestnut; jack-o-lantern; cucumber; eggplant; tomato; bell pepper; hot pepper",
        "furniture": "door; window; toilet; bathtub",
        "glasses": "sunglasses",
        "hat": "rescue helmet; military helmet; crown",
        "helmet": "billed cap",
        "horse": "unicorn; zebra",
        "horse head": "unicorn; zebra",
        "horse face": "unicorn; zebra",
        "insect": "spider; scorpion",
        "jewelry": "crown; watch; coin",
        "kitchenware": "glass of whiskey; wine glass; cocktail glass; beer mug; cup of coffee; salt; fondue",
        "leaf": "seedling; bok choy; palm tree; cactus; bouquet",
        "light": "traffic light; sun; fire; joystick; star; lightning bolt; crescent moon",
        "medical item": "microscope; test tube",
        "money": "gem stone",
        "musical instrument": "bell; microphone",
        "nut": "coconut",
        "plant": "log; broccoli; bok choy; jack-o-lantern; pineapple; ear of corn; christmas tree",
        "planet": "crescent moon; sun",
        "reptile": "sauropod; t-rex; dragon; frog",
        "rodent": "chipmunk; beaver; hedgehog; rabbit",
        "scooter": "motorcycle",
        "sea animal": "swan; duck; penguin; otter; sushi; fried shrimp; frog; fish cake; crocodile; hippopotamus",
        "seafood": "fish; tropical fish; blowfish; octopus; fish cake; shark",
        "scientific instrument": "compass; magnet; flashlight; syringe",
        "stationery": "scissors; paintbrush; open book; closed book; stack of books; label; envelope; artist palette",
        "sports equipment": "billiard ball; bowling pins; bow and arrow; kite; parachute; dartboard; trophy",
        "statue": "trophy; teddy bear",
        "sweet": "waffle; pancakes; croissant; cup with straw",
        "tool": "kitchen knife; crossed swords; broom; paintbrush; mouse trap; pencil; magnet; frying pan; flashlight",
        "toy": "yarn; game controller; joystick; skateboard; soccer ball; basketball; volleyball; dartboard",
        "truck": "auto rickshaw; tractor; ambulance; bus; police car",
        "vegetable": "mushroom; jack-o-lantern; salad; four leaf clover; chestnut; seedling; peanut",
        "vehicle": "parachute; skateboard; roller skate; wheel",
        "weapon": "kitchen knife; axe; firecracker; shield; boxing glove; hammer; carpentry saw",
    }.items()
}

_STRAY_MERGES = 24_000  # words that are rarer are mostly names and misspellings
_SHORTEST_STRAY = 3


@dataclass(frozen=True)
class Concept:
    """The meaning of a phrase.

    Attributes:
        noun: singular base form as in the table, or None for a bare colour.
        colour: colour word, or None for any colour.
    """

    noun: str | None
    colour: str | None = None


class PhraseBook:
    """The words of a table of symbols, and what they are true of.

    Attributes:
        symbols: the table.
        nouns: every noun that may be asked -> the rows it is true of. Names and synonyms of symbols that are asked by
            exemplar only are not in it; their categories are.
        names, synonyms, categories: the nouns by kind, in table order.
        siblings: category -> named rows of it.
    """

    def __init__(self, symbols: tuple[Symbol, ...]) -> None:
        self.symbols = symbols
        found: dict[str, set[int]] = {}
        for idx, symbol in enumerate(symbols):
            own = (symbol.name, *symbol.synonyms) if symbol.named else ()
            for noun in (*own, *symbol.categories):
                found.setdefault(noun, set()).add(idx)
        self.nouns = {noun: frozenset(rows) for noun, rows in found.items()}
        named = [symbol for symbol in symbols if symbol.named]
        self.names = tuple(symbol.name for symbol in named)
        self.synonyms = tuple(dict.fromkeys(word for symbol in named for word in symbol.synonyms))
        self.categories = tuple(dict.fromkeys(word for symbol in symbols for word in symbol.categories))
        self.siblings = {
            word: tuple(idx for idx, symbol in enumerate(symbols) if symbol.named and word in symbol.categories)
            for word in self.categories
        }
        self._forms = {noun: noun for noun in self.nouns} | {plural(noun): noun for noun in self.nouns}

    @cached_property
    def strays(self) -> tuple[str, ...]:
        """Some ten thousand words that have to do with no symbol, not even one that is never named.

        Those of the tokenizer's table, without every word that a name, synonym, category, colour, or an absent word of
        the evaluation has in it, in singular or plural.
        """
        taken = [*COLOURS, *absent_words(held_out=True)]
        for symbol in self.symbols:
            taken += [symbol.name, *symbol.synonyms, *symbol.categories]
        known = {word for noun in taken for phrase in (noun, plural(noun)) for word in phrase.split()}
        return tuple(word for word in whole_words(_STRAY_MERGES) if len(word) >= _SHORTEST_STRAY and word not in known)

    def resolve(self, phrase: str) -> Concept | None:
        """The concept of a phrase such as "two red apples"; None when a word of it is not in the book."""
        whole = " ".join(phrase.lower().split())
        words = without_determiner(whole)
        for noun in (whole, words):  # "four leaf clover" begins with a number, but is a name
            if noun in self._forms:
                return Concept(self._forms[noun])
        colour, _, noun = words.partition(" ")
        if colour in COLOURS and not noun:
            return Concept(None, colour)
        if colour in COLOURS and noun in self._forms:
            return Concept(self._forms[noun], colour)
        return None

    def truth(self, concept: Concept, scene: Shown) -> tuple[int, ...] | None:
        """Every instance of the scene that the concept is true of; empty when it is absent, None when it is open."""
        rows = None if concept.noun is None else self.nouns.get(concept.noun, frozenset())
        doubtful = _DOUBTFUL.get(concept.noun or "", frozenset())
        matches = []
        for idx, instance in enumerate(scene.instances):
            symbol = self.symbols[instance.symbol_idx]
            if rows is not None and instance.symbol_idx not in rows:
                if symbol.name in doubtful:
                    return None
                continue
            if concept.colour is not None:
                colour = self.colour_of(instance)
                if colour is None:
                    return None
                if colour != concept.colour:
                    continue
            matches.append(idx)
        return tuple(matches)

    def colour_of(self, instance: Actor) -> str | None:
        """The colour word of an instance, painted or natural; None when it has none."""
        return instance.colour or self.symbols[instance.symbol_idx].natural_colour

    def is_held_out(self, concept: Concept) -> bool:
        """Is this a symbol's own word with a colour that training never shows it in?

        Category words are not held out: another symbol of the category shows the pair in training.
        """
        if concept.noun is None or concept.colour is None:
            return False
        for idx in self.nouns.get(concept.noun, frozenset()):
            symbol = self.symbols[idx]
            own = concept.noun == symbol.name or concept.noun in symbol.synonyms
            if own and is_held_out_colour(symbol.name, concept.colour) and symbol.natural_colour != concept.colour:
                return True
        return False


@cache
def absent_words(*, held_out: bool) -> tuple[str, ...]:
    """Real words for things that are no symbol; three quarters for training, one quarter held out for evaluation."""
    text = resources.files(__package__).joinpath("absent_words.txt").read_text(encoding="utf-8")
    words = [line.strip() for line in text.splitlines() if line.strip()]
    return tuple(word for word in words if (zlib.crc32(word.encode()) % 4 == 0) == held_out)
