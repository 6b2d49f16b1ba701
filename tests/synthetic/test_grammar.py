import pytest

from masklet.synthetic.grammar import is_mass, is_plural, plural, with_article, without_determiner


@pytest.mark.parametrize(
    ("noun", "many"),
    [
        ("apple", "apples"),
        ("strawberry", "strawberries"),
        ("donkey", "donkeys"),
        ("bus", "buses"),
        ("fox", "foxes"),
        ("torch", "torches"),
        ("tomato", "tomatoes"),
        ("flamingo", "flamingos"),
        ("kitchen knife", "kitchen knives"),
        ("maple leaf", "maple leaves"),
        ("tooth", "teeth"),
        ("computer mouse", "computer mice"),
        ("tropical fish", "tropical fish"),
        ("goose", "geese"),
        ("cup of coffee", "cups of coffee"),
        ("nest with eggs", "nests with eggs"),
        ("bow and arrow", "bows and arrows"),
        ("pair of socks", "pairs of socks"),
        ("die", "dice"),
        ("scissors", "scissors"),
        ("popcorn", "popcorn"),
        ("statue of liberty", "statues of liberty"),
    ],
)
def test_plurals(noun: str, many: str) -> None:
    assert plural(noun) == many


def test_nouns_without_article() -> None:
    assert is_mass("popcorn") and is_mass("french bread") and not is_mass("loaf of bread")
    assert is_plural("scissors") and is_plural("french fries") and not is_plural("pair of scissors")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("apple", "an apple"),
        ("red apple", "a red apple"),
        ("orange bus", "an orange bus"),
        ("hourglass", "an hourglass"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("ufo", "a ufo"),
        ("t-shirt", "a t-shirt"),
    ],
)
def test_articles(words: str, expected: str) -> None:
    assert with_article(words) == expected


@pytest.mark.parametrize(
    ("phrase", "bare"),
    [
        ("two red apples", "red apples"),
        ("the apple", "apple"),
        ("all apples", "apples"),
        ("apple", "apple"),
        ("one", "one"),
        ("", ""),
        ("ant", "ant"),
    ],
)
def test_determiners_are_taken_off(phrase: str, bare: str) -> None:
    assert without_determiner(phrase) == bare
