"""What every reader gives: a `Dataset` of labelled pictures, each with its instances and the prompts asked of it.

A prompt is a phrase and its answer: positions in the picture's instances, none for a concept that is known to be
absent. Nothing is decoded here; pictures and masks stay on disk or as the file holds them until they are asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self, overload

import numpy as np
import numpy.typing as npt

from masklet.data.segmentation import Box, MaskFile, Segmentation, read_mask_values
from masklet.errors import DataError, InputError
from masklet.ops.masks import Rle


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """One labelled thing of a picture.

    Attributes:
        box_xyxy: left, top, right, bottom, pixels of the picture; as the file says, it may be wrong (`check_dataset`).
        segmentation: its mask as the file holds it; None if there is only a box.
        crowd: several things of a kind in one label: neither one instance nor background.
        id: what the file calls it, for messages.
    """

    box_xyxy: Box
    segmentation: Segmentation | None = None
    crowd: bool = False
    id: str = ""

    def rle(self, size_hw: tuple[int, int]) -> Rle | None:
        """Its mask as a run-length code, made anew at each call; None if there is only a box.

        Args:
            size_hw: height and width of the picture.

        Raises:
            DataError: the segmentation is damaged or of another size.
        """
        return None if self.segmentation is None else self.segmentation.rle(size_hw)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A question about a picture and its answer.

    Attributes:
        phrase: the concept, as the file writes it; "visual" if only exemplars say what is meant.
        instance_idx: positions in the picture's instances, crowds among them; none if the concept is absent.
        exhaustive: every instance of the concept is labelled; False if there may be more.
        positive_idx: instances that are shown as exemplars.
        negative_idx: instances that are shown as counter-examples.
    """

    phrase: str
    instance_idx: tuple[int, ...] = ()
    exhaustive: bool = True
    positive_idx: tuple[int, ...] = ()
    negative_idx: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledPicture:
    """A picture on disk and what is known of it.

    Attributes:
        path: the file; whether it is there shows when it is read.
        size_hw: height and width in pixels that the labels refer to.
        instances: in the order of the file.
        prompts: what is asked of it; a phrase comes once unless the file repeats it.
        id: what the file calls it, for messages.
    """

    path: Path
    size_hw: tuple[int, int]
    instances: tuple[Instance, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    id: str = ""

    def rles(self) -> list[Rle | None]:
        """The mask of each instance as a run-length code, None where there is only a box; a mask file is read once.

        Raises:
            DataError: a segmentation is damaged or of another size; names the picture and the instance.
        """
        read: dict[Path, npt.NDArray[np.integer]] = {}
        codes: list[Rle | None] = []
        for instance in self.instances:
            segmentation = instance.segmentation
            try:
                if isinstance(segmentation, MaskFile):
                    if segmentation.path not in read:
                        read[segmentation.path] = read_mask_values(segmentation.path)
                    codes.append(segmentation.rle_of(read[segmentation.path], self.size_hw))
                else:
                    codes.append(instance.rle(self.size_hw))
            except DataError as error:
                raise DataError(f"{self.path}, instance {instance.id}: {error}") from error
        return codes


@dataclass(frozen=True, kw_only=True)
class Dataset(Sequence[LabelledPicture]):
    """Labelled pictures in the order of their source.

    Attributes:
        pictures: a file of pictures comes once unless the source repeats it.
        source: file or folder that they were read from.
        format: a key of `open.FORMATS`.
        vocabulary: phrases that the source knows, in its order, whether or not a picture asks for them.
    """

    pictures: tuple[LabelledPicture, ...]
    source: Path
    format: str
    vocabulary: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    @overload
    def __getitem__(self, index: int) -> LabelledPicture: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> LabelledPicture | Self:
        """A picture, or a data set of some of them."""
        return replace(self, pictures=self.pictures[index]) if isinstance(index, slice) else self.pictures[index]

    def __iter__(self) -> Iterator[LabelledPicture]:
        return iter(self.pictures)

    def only(self, phrases: Collection[str]) -> Self:
        """The same pictures with the prompts of these phrases only; instances stay, so that positions hold.

        Args:
            phrases: of the vocabulary, verbatim.

        Raises:
            InputError: a phrase that the source does not know.
        """
        known_phrases, wanted = set(self.vocabulary), set(phrases)
        unknown = [phrase for phrase in phrases if phrase not in known_phrases]
        if unknown:
            known = ", ".join(map(repr, self.vocabulary[:10])) + (" ..." if len(self.vocabulary) > 10 else "")
            raise InputError(f"phrases must be among those of {self.source}: {known}; got {unknown[0]!r}")
        return replace(
            self,
            pictures=tuple(
                replace(picture, prompts=tuple(prompt for prompt in picture.prompts if prompt.phrase in wanted))
                for picture in self.pictures
            ),
            vocabulary=tuple(phrase for phrase in self.vocabulary if phrase in wanted),
        )
