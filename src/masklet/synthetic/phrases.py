"""Questions about a scene: a phrase and exemplars, and the instances that are the right answer.

About half of the questions have an empty answer, and most of those are near misses: another animal, the right thing
in the wrong colour, a real word for something that the world does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from masklet.synthetic.cast import Shown
from masklet.synthetic.concepts import Concept, PhraseBook, absent_words
from masklet.synthetic.grammar import COUNT_WORDS, is_mass, is_plural, plural, with_article
from masklet.synthetic.symbols import COLOURS
from masklet.types import VISUAL

# How often each kind is tried. A kind that the scene cannot answer gives way to another draw, colours most often (many
# symbols have no colour word), so the shares that come out are flatter; about half of the answers are empty.
KIND_WEIGHTS: dict[str, float] = {
    "name": 0.09,
    "synonym": 0.06,
    "category": 0.05,
    "plural": 0.07,
    "colour": 0.14,
    "exemplar": 0.06,
    "exemplar_negative": 0.06,
    "text_exemplar": 0.04,
    "absent_random": 0.09,
    "absent_sibling": 0.17,
    "absent_colour": 0.32,
    "absent_word": 0.05,
    "exemplar_absent": 0.06,
}
KINDS = tuple(KIND_WEIGHTS)
EXEMPLAR_KINDS = ("exemplar", "exemplar_negative", "text_exemplar", "exemplar_absent")
_TRIES_PER_QUESTION = 40
_TWO_STRAYS = 0.3  # chance that a stray word is two


@dataclass(frozen=True, kw_only=True)
class Question:
    """One prompt and its answer.

    Attributes:
        phrase: the text; "visual" when only exemplars say what is meant.
        kind: one of `KINDS`.
        instances: every instance that is a right answer; empty when the concept is absent.
        positives: instances whose boxes are positive exemplars.
        negatives: instances whose boxes are negative exemplars.
        concept: meaning of the phrase; None for "visual" and for words that are no symbol.
    """

    phrase: str
    kind: str
    instances: tuple[int, ...]
    positives: tuple[int, ...] = ()
    negatives: tuple[int, ...] = ()
    concept: Concept | None = None


@dataclass(frozen=True, kw_only=True)
class QuestionSettings:
    """What is asked.

    Attributes:
        kinds: kinds that may be asked; their weights are those of `KIND_WEIGHTS`.
        held_out_words: absent words come from the held-out quarter of the list.
        stray_words: absent words are any of `PhraseBook.strays`, one or two, not those of the list; for training.
        held_out_colours: symbols may be asked in colours that training never shows.
        unnamed_only: of what is in sight, only symbols that are never asked by name are asked about.
    """

    kinds: tuple[str, ...] = KINDS
    held_out_words: bool = False
    stray_words: bool = False
    held_out_colours: bool = False
    unnamed_only: bool = False


class _Asker:
    """Draws single questions about one scene; every method gives None when the scene cannot answer."""

    def __init__(self, book: PhraseBook, scene: Shown, rng: np.random.Generator, settings: QuestionSettings) -> None:
        self.book = book
        self.scene = scene
        self.rng = rng
        self.settings = settings
        self.targets = [
            idx
            for idx, instance in enumerate(scene.instances)
            if not (settings.unnamed_only and book.symbols[instance.symbol_idx].named)
        ]

    def draw(self, kind: str) -> Question | None:
        """One question of the kind, or None."""
        makers: dict[str, Callable[[], Question | None]] = {
            "name": lambda: self._named("name"),
            "synonym": lambda: self._named("synonym"),
            "category": lambda: self._named("category"),
            "plural": lambda: self._named("plural"),
            "colour": self._colour,
            "exemplar": self._exemplar,
            "exemplar_negative": self._exemplar_negative,
            "text_exemplar": self._text_exemplar,
            "absent_random": self._absent_random,
            "absent_sibling": self._absent_sibling,
            "absent_colour": self._absent_colour,
            "absent_word": self._absent_word,
            "exemplar_absent": self._exemplar_absent,
        }
        return makers[kind]()

    def _pick(self, options: tuple[str, ...] | list[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def _noun_of(self, instance_idx: int, sources: tuple[str, ...]) -> str | None:
        """A word for the instance from a random one of the sources that has any."""
        symbol = self.book.symbols[self.scene.instances[instance_idx].symbol_idx]
        words = {
            "name": (symbol.name,) if symbol.named else (),
            "synonym": symbol.synonyms if symbol.named else (),
            "category": symbol.categories,
        }
        filled = [words[source] for source in sources if words[source]]
        return self._pick(filled[int(self.rng.integers(len(filled)))]) if filled else None

    def _truth(self, concept: Concept) -> tuple[int, ...] | None:
        if not self.settings.held_out_colours and self.book.is_held_out(concept):
            return None
        return self.book.truth(concept, self.scene)

    def _any_target(self) -> int | None:
        return self.targets[int(self.rng.integers(len(self.targets)))] if self.targets else None

    def _text(self, concept: Concept, kind: str, instances: tuple[int, ...], many: bool = False) -> Question:
        phrase = spoken(concept, self.rng, count=len(instances), many=many)
        return Question(phrase=phrase, kind=kind, instances=instances, concept=concept)

    def _named(self, kind: str) -> Question | None:
        target = self._any_target()
        sources = ("name", "name", "synonym", "category") if kind == "plural" else (kind,)
        noun = None if target is None else self._noun_of(target, sources)
        if noun is None or (kind == "plural" and is_mass(noun)):
            return None
        instances = self._truth(Concept(noun))
        return self._text(Concept(noun), kind, instances, many=kind == "plural") if instances else None

    def _colour(self) -> Question | None:
        coloured = [i for i in self.targets if self.book.colour_of(self.scene.instances[i]) is not None]
        if not coloured:
            return None
        target = coloured[int(self.rng.integers(len(coloured)))]
        colour = self.book.colour_of(self.scene.instances[target])
        noun = self._noun_of(target, ("name", "name", "name", "synonym", "category"))
        if noun is None:
            return None
        concept = Concept(noun, colour)
        instances = self._truth(concept)
        return self._text(concept, "colour", instances, many=self.rng.random() < 0.25) if instances else None

    def _same_symbol(self, target: int) -> tuple[int, ...]:
        symbol_idx = self.scene.instances[target].symbol_idx
        return tuple(i for i, instance in enumerate(self.scene.instances) if instance.symbol_idx == symbol_idx)

    def _some(self, options: tuple[int, ...], most: int) -> tuple[int, ...]:
        """One to `most` of the options, one being likeliest."""
        count = min(len(options), most, 1 + int(self.rng.random() < 0.35) + int(self.rng.random() < 0.15))
        return tuple(sorted(int(i) for i in self.rng.choice(options, count, replace=False)))

    def _others(self, instances: tuple[int, ...]) -> tuple[int, ...]:
        """Instances whose symbol is none of the given ones' symbols: fit to be negative exemplars."""
        symbols = {self.scene.instances[i].symbol_idx for i in instances}
        return tuple(i for i, instance in enumerate(self.scene.instances) if instance.symbol_idx not in symbols)

    def _exemplar(self) -> Question | None:
        target = self._any_target()
        if target is None:
            return None
        instances = self._same_symbol(target)
        return Question(phrase=VISUAL, kind="exemplar", instances=instances, positives=self._some(instances, 3))

    def _exemplar_negative(self) -> Question | None:
        question = self._exemplar()
        others = () if question is None else self._others(question.instances)
        if question is None or not others:
            return None
        return Question(
            phrase=VISUAL,
            kind="exemplar_negative",
            instances=question.instances,
            positives=question.positives,
            negatives=self._some(others, 2),
        )

    def _text_exemplar(self) -> Question | None:
        target = self._any_target()
        noun = None if target is None else self._noun_of(target, ("name", "name", "synonym"))
        if target is None or noun is None:
            return None
        colour = self.book.colour_of(self.scene.instances[target]) if self.rng.random() < 0.3 else None
        concept = Concept(noun, colour)
        instances = self._truth(concept)
        if not instances:
            return None
        others = self._others(instances)
        chance = self.rng.random()
        negatives = self._some(others, 2) if others and chance < 0.4 else ()
        # A name with a negative box alone is a fair question too: the thing, but not this one.
        positives = () if negatives and chance < 0.15 else self._some(instances, 2)
        return Question(
            phrase=spoken(concept, self.rng, count=len(instances), many=False),
            kind="text_exemplar",
            instances=instances,
            positives=positives,
            negatives=negatives,
            concept=concept,
        )

    def _absent(self, concept: Concept, kind: str) -> Question | None:
        if self._truth(concept) != ():
            return None
        return self._text(concept, kind, (), many=self.rng.random() < 0.2)

    def _maybe_colour(self, noun: str, chance: float) -> Concept:
        return Concept(noun, self._pick(COLOURS) if self.rng.random() < chance else None)

    def _absent_random(self) -> Question | None:
        chance = self.rng.random()
        words = self.book.names if chance < 0.65 else self.book.synonyms if chance < 0.85 else self.book.categories
        return self._absent(self._maybe_colour(self._pick(words), 0.2), "absent_random") if words else None

    def _absent_sibling(self) -> Question | None:
        target = self._any_target()
        if target is None:
            return None
        instance = self.scene.instances[target]
        categories = self.book.symbols[instance.symbol_idx].categories
        siblings = self.book.siblings[self._pick(categories)] if categories else ()
        if not siblings:
            return None
        symbol = self.book.symbols[siblings[int(self.rng.integers(len(siblings)))]]
        noun = self._pick(symbol.synonyms) if symbol.synonyms and self.rng.random() < 0.25 else symbol.name
        # The neighbour's own colour makes the hardest near miss: "red tomato" where a red apple lies.
        colour = self.book.colour_of(instance) if self.rng.random() < 0.25 else None
        return self._absent(Concept(noun, colour), "absent_sibling")

    def _absent_colour(self) -> Question | None:
        target = self._any_target()
        noun = None if target is None else self._noun_of(target, ("name", "name", "name", "synonym", "category"))
        if noun is None:
            return None
        # Colours of other things in sight are the likelier mistake.
        seen = [c for instance in self.scene.instances if (c := self.book.colour_of(instance)) is not None]
        colour = self._pick(seen) if seen and self.rng.random() < 0.5 else self._pick(COLOURS)
        return self._absent(Concept(noun, colour), "absent_colour")

    def _absent_word(self) -> Question:
        if self.settings.stray_words:
            word = " ".join(self._pick(self.book.strays) for _ in range(1 + (self.rng.random() < _TWO_STRAYS)))
        else:
            word = self._pick(absent_words(held_out=self.settings.held_out_words))
        colour = self._pick(COLOURS) if self.rng.random() < 0.15 else None
        phrase = spoken(Concept(word, colour), self.rng, count=0, many=self.rng.random() < 0.2)
        return Question(phrase=phrase, kind="absent_word", instances=())

    def _exemplar_absent(self) -> Question | None:
        """An absent thing is named and what is there is marked as wrong, or only wrong ones are marked."""
        target = self._any_target()
        if target is None:
            return None
        negatives = self._some(self._same_symbol(target), 2)
        if self.rng.random() < 0.4:
            return Question(phrase=VISUAL, kind="exemplar_absent", instances=(), negatives=negatives)
        text = self._absent_sibling() if self.rng.random() < 0.5 else self._absent_random()
        if text is None:
            return None
        return Question(
            phrase=text.phrase, kind="exemplar_absent", instances=(), negatives=negatives, concept=text.concept
        )


def ask(
    book: PhraseBook, scene: Shown, rng: np.random.Generator, count: int, settings: QuestionSettings
) -> list[Question]:
    """Up to `count` different questions about a scene, about half of them with an empty answer.

    Args:
        book: the words of the scene's table.
        scene: what is asked about.
        rng: source of all choices; the same state gives the same questions.
        count: how many; fewer come back only when the scene and the kinds allow no more.
        settings: kinds and what is held out.
    """
    weights = np.cumsum([KIND_WEIGHTS[kind] for kind in settings.kinds])
    asker = _Asker(book, scene, rng, settings)
    questions: list[Question] = []
    asked: set[tuple[str, tuple[int, ...], tuple[int, ...]]] = set()
    for _ in range(count * _TRIES_PER_QUESTION):
        if len(questions) >= count:
            break
        place = int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))
        question = asker.draw(settings.kinds[min(place, len(settings.kinds) - 1)])
        key = None if question is None else (question.phrase, question.positives, question.negatives)
        if question is not None and key is not None and key not in asked:
            asked.add(key)
            questions.append(question)
    return questions


def spoken(concept: Concept, rng: np.random.Generator, *, count: int, many: bool) -> str:
    """A phrase for the concept: bare, with an article, or as a plural with or without a number.

    Args:
        concept: noun and colour; a noun must be there.
        rng: chooses the form.
        count: how many there are, used in "two apples"; 0 when the concept is absent.
        many: plural forms only (where the noun has one).
    """
    noun, tint = concept.noun or "", "" if concept.colour is None else concept.colour + " "
    chance = rng.random()
    if is_mass(noun) or is_plural(noun):
        return f"the {tint}{noun}" if chance < 0.2 else f"{tint}{noun}"
    if many:
        number = count if 2 <= count <= len(COUNT_WORDS) else int(rng.integers(2, 5)) if count == 0 else 0
        if number and chance < 0.4:
            return f"{COUNT_WORDS[number - 1]} {tint}{plural(noun)}"
        return f"{'all ' if chance > 0.85 else 'the ' if chance > 0.75 else ''}{tint}{plural(noun)}"
    if chance < 0.6:
        return tint + noun
    if chance < 0.85:
        return with_article(tint + noun)
    return f"one {tint}{noun}" if chance > 0.96 and count == 1 else f"the {tint}{noun}"
