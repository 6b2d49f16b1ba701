"""Pictures, phrases and exemplars that the tests of the predictor share."""

from __future__ import annotations

import numpy as np
import pytest

from confident import picture
from masklet.inference.frame_result import FrameResult
from masklet.types import Exemplar

FIRST, SECOND, THIRD = picture(60, 90, 1), picture(75, 50, 2), picture(33, 120, 3)
CONCEPTS = ["dog", "a red bus", "🍎", "two green apples"]
BOX, OTHER_BOX = Exemplar((10, 20, 40, 55)), Exemplar((5, 5, 45, 30), positive=False)


def assert_same(mine: FrameResult, theirs: FrameResult, *, names: bool = True) -> None:
    """Equal up to the order of additions, which differs between batches: about 1e-7 of a value."""
    assert (mine.concept, mine.image_size_hw, len(mine)) == (theirs.concept, theirs.image_size_hw, len(theirs))
    assert not names or mine.image == theirs.image
    assert mine.presence == pytest.approx(theirs.presence, abs=1e-5)
    np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-5)
    np.testing.assert_allclose(mine.boxes_xyxy, theirs.boxes_xyxy, atol=1e-2)
    # A pixel on the edge of a mask may fall to either side.
    assert np.mean(mine.masks != theirs.masks) < 1e-3 if len(mine) else True
