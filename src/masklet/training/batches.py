"""Batches of the synthetic world: every batch is a function of its seed alone, so a run can be cut anywhere.

Two kinds. A `DenseBatch` is full of different sprites and labels each patch; recognition is learned from it, hundreds
of examples per picture. A `PromptBatch` holds ordinary scenes with prompts and their answers, as the whole model sees
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from masklet.config import ModelConfig
from masklet.media.images import to_pixels
from masklet.model.tokenizer import Tokenizer
from masklet.synthetic.concepts import Concept, PhraseBook
from masklet.synthetic.phrases import Question, QuestionSettings, ask, spoken
from masklet.synthetic.scenes import Crowd, Instance, Scene
from masklet.synthetic.sprites import SpriteSheet, default_sheet
from masklet.synthetic.symbols import COLOURS
from masklet.synthetic.world import phrase_book, training_scene
from masklet.training.drawn import PromptExemplars, drawn_box, exemplar_batch
from masklet.types import VISUAL, ExemplarBatch, Targets

MIXED = -1  # a patch that shows too little of too many things to be labelled
BACKGROUND = 0
_OWN_SHARE = 0.25  # of a patch that a sprite must cover to name it
MASK_SCALE = 4  # mask logits have this many cells per patch side
_BOX_JITTER = 0.06  # users do not draw exact boxes: standard deviation as a fraction of the box's side
_BOX_MOST = 0.15  # greatest move of an edge, as a fraction of the box's side
_POINT_CHANCE = 0.2  # exemplars that are points instead of boxes
_ASPECTS = (0.65, 1.55)  # width / height of pictures that are not square
_SQUARE_CHANCE = 0.5
_CROWD = Crowd()
_COLOURED = QuestionSettings(kinds=("colour", "absent_colour"))
_CATEGORIES = QuestionSettings(kinds=("category",))
_WORDS = QuestionSettings(kinds=("absent_word",))
_STRAYS = QuestionSettings(kinds=("absent_word",), stray_words=True)
_SHOWN = QuestionSettings(kinds=("exemplar", "exemplar_negative"))


@dataclass(frozen=True, kw_only=True)
class DenseBatch:
    """Pictures full of sprites with a label for each patch; h w is the patch grid.

    Attributes:
        pixels: (B, 3, R, R) in -1..1.
        patch_instances: (B, h, w) int64: `BACKGROUND`, i + 1 for instance i of the picture, or `MIXED`.
        coverage: (B, h, w) share of the patch that any sprite covers.
        symbols: (B, I) int64 class of each instance: its place among the named symbols; padding -1.
        colours: (B, I) int64 index into `COLOURS`; -1 without a colour word.
        boxes_cxcywh_norm: (B, I, 4); padding 0.
        masks: (B, I, 4h, 4w) float16 covered share of each cell; padding 0.
        noun_ids: (S, T) token ids of one word for each of the S named symbols, true of no other symbol.
        phrase_ids: (K, T) token ids of the phrases asked.
        truths: (K, B, I) int8: is the phrase true of the instance; -1 where the picture leaves it open.
    """

    pixels: Tensor
    patch_instances: Tensor
    coverage: Tensor
    symbols: Tensor
    colours: Tensor
    boxes_cxcywh_norm: Tensor
    masks: Tensor
    noun_ids: Tensor
    phrase_ids: Tensor
    truths: Tensor


@dataclass(frozen=True, kw_only=True)
class PromptBatch:
    """Pictures and prompts with their answers.

    Attributes:
        pixels: (B, 3, R, R) in -1..1.
        image_idx: (P,) int64 the picture of each prompt.
        token_ids: (P, T) int64.
        exemplars: of the P prompts.
        targets: the answers; masks (M, 4h, 4w) are shares of covered cells, valid for `with_masks` prompts only.
        with_masks: (P,) bool, the prompts whose masks are trained.
        objects: mean number of targets of the batches of its step; None if it is the only one.
    """

    pixels: Tensor
    image_idx: Tensor
    token_ids: Tensor
    exemplars: ExemplarBatch
    targets: Targets
    with_masks: Tensor
    objects: float | None = None


class BatchMaker:
    """Turns seeds into batches for one model configuration.

    Args:
        config: sizes of grid, vocabulary and context are read from it.
        sheet: sprites; None takes the installed font's.
    """

    def __init__(self, config: ModelConfig, sheet: SpriteSheet | None = None) -> None:
        self.patch = config.vision.patch_size
        self.tokenizer = Tokenizer(config.text.context, config.text.merges)
        self.sheet = default_sheet() if sheet is None else sheet
        self.book = phrase_book(self.sheet)
        self.named = [row for row, symbol in enumerate(self.sheet.symbols) if symbol.named]
        self._class_of = {row: place for place, row in enumerate(self.named)}
        self._own_nouns = [_own_nouns(self.book, row) for row in self.named]

    def dense(self, seed: int, *, images: int, size: int, questions: int, crowd: Crowd = _CROWD) -> DenseBatch:
        """`images` crowded scenes of `size` pixels, with `questions` phrases each that all pictures are asked."""
        rng = np.random.default_rng([11, seed])
        made = [
            training_scene(seed * images + i, (size, size), questions=questions, crowd=crowd, sheet=self.sheet)
            for i in range(images)
        ]
        scenes = [scene for scene, _ in made]
        grid = size // self.patch
        most = max(1, *(len(scene.instances) for scene in scenes))
        labels = [_patch_labels(scene.label_map, len(scene.instances), grid) for scene in scenes]
        concepts = _concepts(question for _, asked in made for question in asked)
        nouns = [
            spoken(Concept(words[rng.integers(len(words))]), rng, count=1, many=bool(rng.random() < 0.15))
            for words in self._own_nouns
        ]
        phrases = [phrase for phrase, _ in concepts]
        return DenseBatch(
            pixels=torch.cat([to_pixels(scene.image, size) for scene in scenes]),
            patch_instances=torch.from_numpy(np.stack([instances for instances, _ in labels])),
            coverage=torch.from_numpy(np.stack([coverage for _, coverage in labels])),
            symbols=_padded([[self._class_of[i.symbol_idx] for i in scene.instances] for scene in scenes], most, -1),
            colours=_padded([[self._colour(i) for i in scene.instances] for scene in scenes], most, -1),
            boxes_cxcywh_norm=torch.stack([_pad_rows(_boxes(scene), most) for scene in scenes]),
            masks=torch.stack([_pad_rows(_soft_masks(scene, grid), most) for scene in scenes]).half(),
            noun_ids=self.tokenizer(nouns),
            phrase_ids=self.tokenizer(phrases),
            truths=torch.from_numpy(self._truths([concept for _, concept in concepts], scenes, most)),
        )

    def prompts(
        self,
        seed: int,
        *,
        images: int,
        size: int,
        questions: int,
        mask_prompts: int,
        coloured: int = 0,
        shown: int = 0,
        categories: int = 0,
        words: int = 0,
        strays: int = 0,
        scene_scale: tuple[float, float] = (1.0, 1.0),
    ) -> PromptBatch:
        """`images` ordinary scenes of `size` pixels with `questions` prompts of all kinds each.

        `coloured` prompts more for each are about colours, `shown` more are asked by exemplars alone, `categories` by
        words for a kind, `words` by words that are no symbol, `strays` by any words that are none. Scenes are drawn at
        `scene_scale` times the size, anything between the two, and resized. At most `mask_prompts` prompts, taken at
        random among those that have an answer, carry masks.
        """
        rng = np.random.default_rng([12, seed])
        made = [
            training_scene(seed * images + i, _size_hw(rng, size, scene_scale), questions=questions, sheet=self.sheet)
            for i in range(images)
        ]
        further = (
            (coloured, _COLOURED),
            (shown, _SHOWN),
            (categories, _CATEGORIES),
            (words, _WORDS),
            (strays, _STRAYS),
        )
        for more, settings in further:
            if more:
                made = [(scene, [*asked, *ask(self.book, scene, rng, more, settings)]) for scene, asked in made]
        grid = size // self.patch
        asked = [(image, question) for image, (_, questions_) in enumerate(made) for question in questions_]
        answered = [place for place, (_, question) in enumerate(asked) if question.instances]
        with_masks = np.zeros(len(asked), dtype=bool)
        with_masks[rng.permutation(answered)[:mask_prompts].astype(int)] = True
        boxes = [_boxes(scene) for scene, _ in made]
        masks = [_soft_masks(scene, grid) for scene, _ in made]
        counts = torch.tensor([len(question.instances) for _, question in asked])
        return PromptBatch(
            pixels=torch.cat([to_pixels(scene.image, size) for scene, _ in made]),
            image_idx=torch.tensor([image for image, _ in asked]),
            token_ids=self.tokenizer([question.phrase for _, question in asked]),
            exemplars=_exemplars([(made[image][0], question) for image, question in asked], rng),
            targets=Targets(
                counts=counts,
                boxes_cxcywh_norm=torch.cat([boxes[image][list(question.instances)] for image, question in asked]),
                masks=torch.cat([masks[image][list(question.instances)] for image, question in asked]),
                masks_valid=torch.from_numpy(with_masks).repeat_interleave(counts),
            ),
            with_masks=torch.from_numpy(with_masks),
        )

    def _colour(self, instance: Instance) -> int:
        colour = self.book.colour_of(instance)
        return -1 if colour is None else COLOURS.index(colour)

    def _truths(self, concepts: Sequence[Concept], scenes: Sequence[Scene], most: int) -> npt.NDArray[np.int8]:
        truths = np.zeros((len(concepts), len(scenes), most), dtype=np.int8)
        for row, concept in enumerate(concepts):
            for column, scene in enumerate(scenes):
                instances = self.book.truth(concept, scene)
                if instances is None:
                    truths[row, column] = -1
                else:
                    truths[row, column, list(instances)] = 1
        return truths


def _own_nouns(book: PhraseBook, row: int) -> list[str]:
    """Words that are true of this symbol alone, its name three times; only its name if there are none."""
    symbol = book.symbols[row]
    words = [noun for noun in (*[symbol.name] * 3, *symbol.synonyms) if len(book.nouns[noun]) == 1]
    return words or [symbol.name]


def _concepts(questions: Iterable[Question]) -> list[tuple[str, Concept]]:
    """The different phrases with a meaning; words that are no symbol are false everywhere."""
    found: dict[str, Concept] = {}
    for question in questions:
        if question.phrase != VISUAL and not (question.positives or question.negatives):
            found.setdefault(question.phrase, question.concept or Concept("", None))
    return list(found.items())


def _patch_labels(
    label_map: npt.NDArray[np.uint8], instances: int, grid: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """(grid, grid) label of each patch, and its covered share."""
    side = len(label_map) // grid
    patches = label_map.reshape(grid, side, grid, side).transpose(0, 2, 1, 3).reshape(grid * grid, side * side)
    flat = patches + np.arange(grid * grid)[:, None] * (instances + 1)
    pixels = np.bincount(flat.ravel(), minlength=grid * grid * (instances + 1))
    shares = pixels.reshape(grid * grid, instances + 1) / side**2
    coverage = 1 - shares[:, 0]
    if not instances:
        return np.zeros((grid, grid), dtype=np.int64), coverage.reshape(grid, grid).astype(np.float32)
    labels = shares[:, 1:].argmax(1) + 1
    labels = np.where(shares[:, 1:].max(1) >= _OWN_SHARE, labels, np.where(coverage < 0.05, BACKGROUND, MIXED))
    return labels.reshape(grid, grid).astype(np.int64), coverage.reshape(grid, grid).astype(np.float32)


def _boxes(scene: Scene) -> Tensor:
    """(N, 4) cx, cy, w, h as fractions of the picture."""
    height, width = scene.size_hw
    x0, y0, x1, y1 = torch.from_numpy(scene.boxes_xyxy()).unbind(-1)
    return torch.stack(((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height), -1)


def _soft_masks(scene: Scene, grid: int) -> Tensor:
    """(N, 4 grid, 4 grid) share of each cell that an instance covers."""
    cells = MASK_SCALE * grid
    if not scene.instances:
        return torch.zeros(0, cells, cells)
    return F.interpolate(torch.from_numpy(scene.masks()).float()[:, None], (cells, cells), mode="area")[:, 0]


def _size_hw(rng: np.random.Generator, size: int, scale: tuple[float, float]) -> tuple[int, int]:
    """Of the picture before it is resized to a square of `size`; its shorter side is `scale` times that."""
    if scale != (1.0, 1.0):
        size = round(size * float(np.exp(rng.uniform(*np.log(scale)))))
    if rng.random() < _SQUARE_CHANCE:
        return size, size
    aspect = float(np.exp(rng.uniform(*np.log(_ASPECTS))))
    return (size, round(size * aspect)) if aspect > 1 else (round(size / aspect), size)


def _exemplars(asked: Sequence[tuple[Scene, Question]], rng: np.random.Generator) -> ExemplarBatch:
    """Positive and negative exemplars of each prompt: boxes as a hand would draw them, some points."""
    each = [PromptExemplars() for _ in asked]
    for mine, (scene, question) in zip(each, asked, strict=True):
        for label, chosen in ((1, question.positives), (0, question.negatives)):
            for instance in chosen:
                if rng.random() < _POINT_CHANCE:
                    mine.points.append((_point_inside(scene, instance, rng), label))
                else:
                    box = drawn_box(_boxes(scene)[instance], rng, std=_BOX_JITTER, most=_BOX_MOST)
                    mine.boxes.append((box, label))
    return exemplar_batch(each)


def _point_inside(scene: Scene, instance: int, rng: np.random.Generator) -> Tensor:
    """A pixel of the instance, as fractions of the picture."""
    rows, columns = np.nonzero(scene.label_map == instance + 1)
    place = rng.integers(len(rows))
    height, width = scene.size_hw
    return torch.tensor([(columns[place] + 0.5) / width, (rows[place] + 0.5) / height], dtype=torch.float32)


def _pad_rows(rows: Tensor, most: int) -> Tensor:
    """`rows` with zero rows behind, `most` in all."""
    return torch.cat((rows, rows.new_zeros(most - len(rows), *rows.shape[1:])))


def _padded(rows: Sequence[Sequence[int]], most: int, padding: int) -> Tensor:
    """(len(rows), most) int64."""
    return torch.tensor([[*row, *[padding] * (most - len(row))] for row in rows], dtype=torch.int64).view(
        len(rows), most
    )
