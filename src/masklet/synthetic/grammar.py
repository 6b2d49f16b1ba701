"""English for the phrase generator: plurals, articles and the nouns that take neither.

Only the nouns of the symbol table and of the list of foreign words have to come out right; a test reads them all.
"""

from __future__ import annotations

COUNT_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
_DETERMINERS = frozenset({"a", "an", "the", "all", "some", "every", *COUNT_WORDS})

# Nouns without a plural and without "a": tested on the last word, or on the first before "of" and "with".
_MASS = frozenset((
    "bacon", "boba", "bread", "broccoli", "calamari", "cattle", "champagne", "cheese", "chocolate", "choy",
    "clothing", "coffee", "dynamite", "equipment", "eyewear", "fire", "firewood", "food", "furniture",
    "garlic", "gold", "ice", "jewelry", "kitchenware", "lettuce", "liberty", "lightning", "luggage",
    "maize", "meat", "money", "popcorn", "ramen", "sakura", "salt", "seafood", "soap", "soda", "stationery",
    "sunshine", "sushi", "swimwear", "tempura", "voltage", "whiskey", "wool", "yarn",
))  # fmt: skip

# Nouns that are plural already.
_PLURAL_ONLY = frozenset((
    "bilberries", "blueberries", "cherries", "chips", "denim", "dice", "dolls", "earphones", "eyeglasses",
    "fries", "glasses", "gloves", "grapes", "headphones", "jeans", "mittens", "ninepins", "pancakes",
    "pants", "pins", "scissors", "shades", "shears", "shorts", "socks", "spectacles", "strips",
    "sunglasses", "swords", "trousers",
))  # fmt: skip

_IRREGULAR = {
    "buffalo": "buffalo",
    "cactus": "cacti",
    "calf": "calves",
    "deer": "deer",
    "die": "dice",
    "fish": "fish",
    "goldfish": "goldfish",
    "goose": "geese",
    "half": "halves",
    "knife": "knives",
    "leaf": "leaves",
    "loaf": "loaves",
    "man": "men",
    "mouse": "mice",
    "ox": "oxen",
    "scarf": "scarves",
    "sheep": "sheep",
    "shelf": "shelves",
    "shrimp": "shrimp",
    "spacecraft": "spacecraft",
    "aircraft": "aircraft",
    "squid": "squid",
    "thief": "thieves",
    "tooth": "teeth",
    "wolf": "wolves",
    "woman": "women",
}
_PLURAL_BY_ES = frozenset({"potato", "tomato", "mango", "hero", "torpedo", "volcano"})
_HEAD_ENDS = (" of ", " with ", " and ", " in ", " on ")
_AN_SOUNDS = ("hour", "x-ray")
_A_SOUNDS = ("uni", "ufo", "uku", "one", "euro", "usb")


def _split_head(noun: str) -> tuple[str, str, str]:
    """(words before the head noun, head noun, words after): "cup of tea" -> ("", "cup", " of tea")."""
    ends = [at for end in _HEAD_ENDS if (at := noun.find(end)) > 0]
    stop = min(ends, default=len(noun))
    before, _, head = noun[:stop].rpartition(" ")
    return (before + " " if before else ""), head, noun[stop:]


def is_mass(noun: str) -> bool:
    """Does the noun take neither "a" nor a plural, as in "popcorn"?"""
    return _split_head(noun)[1] in _MASS


def is_plural(noun: str) -> bool:
    """Is the noun a plural in itself, as in "scissors"?"""
    return _split_head(noun)[1] in _PLURAL_ONLY


def plural(noun: str) -> str:
    """The plural: "ear of corn" -> "ears of corn", "knife" -> "knives"; mass nouns and plurals stay."""
    before, head, after = _split_head(noun)
    if head in _MASS or head in _PLURAL_ONLY:
        return noun
    if noun == "bow and arrow":
        return "bows and arrows"
    return before + _plural_word(head) + after


def _plural_word(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _PLURAL_BY_ES or word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def with_article(words: str) -> str:
    """The words with "a" or "an" in front, by the sound of the first word."""
    vowel = words[0] in "aeiou" and not words.startswith(_A_SOUNDS)
    return ("an " if vowel or words.startswith(_AN_SOUNDS) else "a ") + words


def without_determiner(phrase: str) -> str:
    """The phrase without a leading article, count word or "all"."""
    first, _, rest = phrase.partition(" ")
    return rest if rest and first in _DETERMINERS else phrase
