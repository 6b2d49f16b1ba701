import numpy as np
import pytest

from masklet.synthetic import concepts
from masklet.synthetic.concepts import Concept, PhraseBook, absent_words
from masklet.synthetic.grammar import plural
from masklet.synthetic.scenes import Instance, Scene
from masklet.synthetic.symbols import Symbol, is_held_out_colour, load_symbols


def _scene(book: PhraseBook, *shown: tuple[str, str | None]) -> Scene:
    """A scene with these symbols and colours; pixels do not matter."""
    rows = {symbol.name: idx for idx, symbol in enumerate(book.symbols)}
    return Scene(
        image=np.zeros((40, 50, 3), dtype=np.uint8),
        label_map=np.zeros((40, 50), dtype=np.uint8),
        instances=tuple(
            Instance(symbol_idx=rows[name], colour=colour, box_xyxy=(0, 0, 9, 8), area_px=30, visible_fraction=1.0)
            for name, colour in shown
        ),
        symbols=book.symbols,
    )


@pytest.mark.parametrize(
    ("phrase", "concept"),
    [
        ("apple", Concept("apple")),
        ("two red apples", Concept("apple", "red")),
        ("  The RED  Apple ", Concept("apple", "red")),
        ("a gray animal", Concept("animal", "gray")),
        ("blue", Concept(None, "blue")),
        ("all teddy bears", Concept("teddy bear")),
        ("puppies", Concept("puppy")),
        ("red zeppelin", None),
        ("visual", None),
        ("", None),
        ("mammoth", None),
    ],
)
def test_phrases_are_understood(book: PhraseBook, phrase: str, concept: Concept | None) -> None:
    assert book.resolve(phrase) == concept


def test_names_match_their_symbol_and_categories_all_of_theirs(book: PhraseBook) -> None:
    scene = _scene(book, ("apple", None), ("dog", "red"), ("apple", "green"), ("flamingo", None), ("mammoth", None))
    assert book.truth(Concept("apple"), scene) == (0, 2)
    assert book.truth(Concept("animal"), scene) == (1, 3, 4)
    assert book.truth(Concept("bird"), scene) == (3,)
    assert book.truth(Concept("bus"), scene) == ()
    assert book.truth(Concept("apple"), _scene(book)) == ()


def test_a_word_that_two_symbols_share_matches_both(book: PhraseBook) -> None:
    scene = _scene(book, ("dog face", None), ("dog", None), ("cat", None))
    assert book.truth(Concept("dog"), scene) == (0, 1)
    assert book.truth(Concept("dog face"), scene) == (0,)
    assert book.truth(Concept("hound"), scene) == (1,)


def test_colours_are_painted_or_natural_and_open_without_a_word(book: PhraseBook) -> None:
    scene = _scene(book, ("apple", None), ("apple", "blue"), ("dog", "blue"), ("bus", None))
    assert book.truth(Concept("apple", "red"), scene) == (0,)
    assert book.truth(Concept("apple", "blue"), scene) == (1,)
    assert book.truth(Concept("apple", "green"), scene) == ()
    # The unpainted bus has no colour word: nothing can be said of buses, dogs are not touched by it.
    assert book.truth(Concept("bus", "red"), scene) is None
    assert book.truth(Concept("vehicle", "red"), scene) is None
    assert book.truth(Concept("dog", "blue"), scene) == (2,)
    assert book.truth(Concept(None, "blue"), _scene(book, ("apple", None), ("dog", "blue"))) == (1,)
    assert book.truth(Concept(None, "blue"), scene) is None


def test_doubtful_neighbours_leave_the_question_open(book: PhraseBook) -> None:
    assert book.truth(Concept("bear"), _scene(book, ("bear", None), ("teddy bear", None))) is None
    assert book.truth(Concept("bear"), _scene(book, ("bear", None), ("dog", None))) == (0,)
    assert book.truth(Concept("teddy bear"), _scene(book, ("bear", None), ("teddy bear", None))) == (1,)


def test_symbols_asked_by_exemplar_only_are_known_by_category_alone(book: PhraseBook) -> None:
    assert "mammoth" not in book.nouns and "melon" not in book.nouns
    rows = {symbol.name: idx for idx, symbol in enumerate(book.symbols)}
    assert rows["mammoth"] in book.nouns["animal"]
    assert rows["mammoth"] not in book.siblings["animal"]


def test_held_out_pairs_are_those_of_the_symbols_own_words(book: PhraseBook) -> None:
    assert is_held_out_colour("dog", "gray")
    assert book.is_held_out(Concept("dog", "gray")) and book.is_held_out(Concept("hound", "gray"))
    assert not book.is_held_out(Concept("animal", "gray"))
    assert not book.is_held_out(Concept("dog", "red"))
    assert not book.is_held_out(Concept("dog")) and not book.is_held_out(Concept(None, "gray"))


def test_every_form_of_every_noun_of_the_packaged_table_leads_back_to_the_same_truth() -> None:
    book = PhraseBook(load_symbols())
    for noun, rows in book.nouns.items():
        for form in (noun, plural(noun), "the " + noun, "two " + plural(noun)):
            concept = book.resolve(form)
            assert concept is not None and concept.colour is None, form
            assert book.nouns[concept.noun or ""] == rows, f"{form!r} means {concept.noun!r} and {noun!r}"
        assert book.resolve("pink " + noun) == Concept(book.resolve(noun).noun, "pink")


def test_the_table_of_doubtful_nouns_names_only_what_exists_and_is_not_matched_anyway() -> None:
    book = PhraseBook(load_symbols())
    rows = {symbol.name: idx for idx, symbol in enumerate(book.symbols)}
    for noun, names in concepts._DOUBTFUL.items():
        assert noun in book.nouns, noun
        for name in names:
            assert name in rows, name
            assert rows[name] not in book.nouns[noun], (noun, name)


def test_absent_words_are_many_split_and_no_word_of_the_world() -> None:
    train, held_out = absent_words(held_out=False), absent_words(held_out=True)
    assert len(train) > 200 and len(held_out) > 50
    assert not set(train) & set(held_out)
    symbols = load_symbols()
    known = {word for s in symbols for word in (s.name, *s.synonyms, *s.categories)}
    book = PhraseBook(symbols)
    for word in (*train, *held_out):
        assert word not in known and book.resolve(word) is None, word


def test_strays_are_thousands_and_have_nothing_to_do_with_the_world_or_its_evaluation() -> None:
    book = PhraseBook(load_symbols())
    assert len(book.strays) > 10_000 and len(set(book.strays)) == len(book.strays)
    strays = set(book.strays)
    assert {"captain", "visits"} <= strays
    assert not strays & {"red", "reds", "truck", "trucks"}, "colours, and a part of a name that is not asked alone"
    taken = [part for s in book.symbols for part in (s.name, *s.synonyms, *s.categories)]
    for noun in (*taken, *absent_words(held_out=True)):
        assert not strays & {*noun.split(), *plural(noun).split()}, noun


def test_an_empty_table_has_no_words() -> None:
    symbols: tuple[Symbol, ...] = ()
    assert PhraseBook(symbols).nouns == {}
