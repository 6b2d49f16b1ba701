"""Operations that the limits count, beside what the sizes of the smallest model say."""

import torch
from limits import Rates, Work, counted, stage_work

from masklet.config import TEST


def test_operations_of_each_kind():
    def work() -> None:
        x = torch.empty(1, 6, 10, 8, device="meta")
        torch.nn.functional.linear(x, torch.empty(5, 8, device="meta"))
        torch.nn.functional.scaled_dot_product_attention(x, x, x)
        torch.nn.functional.conv2d(x, torch.empty(4, 6, 3, 3, device="meta"), padding=1)

    found = counted(work)
    assert found == Work(products=2 * 6 * 10 * 8 * 5, attention=4 * 6 * 10 * 10 * 8, convolutions=2 * 4 * 6 * 9 * 80)
    assert found.least_s(Rates(products=4800.0, attention=19200.0, convolutions=17280.0)) == 1 + 1 + 2


def test_the_vision_encoder_of_the_smallest_model():
    """Its patches are 6 x 6; the first block has windows of 4 x 4, so 8 x 8 with padding, the second one has none."""
    vision = TEST.vision
    tokens = (64, 36)
    each = 4 * vision.width**2 + 2 * vision.width * vision.mlp_width
    found = stage_work(TEST)
    assert found["vision encoder"].products == 2 * each * sum(tokens)
    assert found["vision encoder"].attention == 4 * vision.width * (4 * 16**2 + 36**2)
    assert found["vision encoder"].convolutions == 2 * 36 * vision.width * 3 * vision.patch_size**2
    assert found["whole image, one concept"].products > found["vision encoder"].products
