"""What is done once per image is what each of its prompts would get alone; values are in test_parity.py."""

import pytest
import torch

from masklet.model.fusion_encoder import FusionEncoder
from masklet.types import PromptTokens


@pytest.mark.parametrize("image_idx", [[0, 0, 0, 2, 1], [2, 0, 1], [1], [2, 2], []], ids=str)
@pytest.mark.parametrize("depth", [1, 2])
def test_prompts_of_one_image_do_not_meet(depth, image_idx):
    """More prompts than images, as many, and fewer."""
    torch.manual_seed(0)
    encoder = FusionEncoder(width=16, depth=depth, heads=2, mlp_width=24)
    images, position = torch.randn(3, 12, 16), torch.randn(12, 16)
    prompts = len(image_idx)
    prompt = PromptTokens(tokens=torch.randn(prompts, 5, 16), valid=torch.arange(5) <= torch.arange(prompts)[:, None])
    memory = encoder(images, torch.tensor(image_idx, dtype=torch.int64), position, prompt)
    assert memory.shape == (prompts, 12, 16)
    one = torch.zeros(1, dtype=torch.int64)
    for row, image in enumerate(image_idx):
        alone = encoder(images[image : image + 1], one, position, prompt.select(torch.tensor([row])))
        # float32 sums of 16 terms, in batches of another size
        torch.testing.assert_close(memory[row], alone[0], rtol=1e-5, atol=1e-5)
