"""The dense losses against loops, and where their gradients go."""

import pytest
import torch
import torch.nn.functional as F

from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.training.batches import BatchMaker, DenseBatch
from masklet.training.recognition import WEIGHTS, RecognitionHeads, _phrase_logits, _phrase_loss, recognition_loss


@pytest.fixture(scope="module")
def batch(maker: BatchMaker) -> DenseBatch:
    return maker.dense(1, images=3, size=84, questions=3)


@pytest.fixture
def model() -> Detector:
    return build_model("test", seed=0).train()


@pytest.fixture
def heads(maker: BatchMaker, model: Detector) -> RecognitionHeads:
    torch.manual_seed(0)
    return RecognitionHeads(vision_width=16, width=16, symbols=len(maker.named), colours=9)


def test_phrase_loss_equals_a_loop(batch: DenseBatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images, phrases = len(batch.pixels), len(batch.phrase_ids)
    logits = torch.randn(images, 36, phrases, 2, generator=generator)
    total, true = 0.0, 0
    for b in range(images):
        for n in range(36):
            instance = int(batch.patch_instances.flatten(1)[b, n])
            for k in range(phrases):
                truth = 0 if instance == 0 else -1 if instance < 0 else int(batch.truths[k, b, instance - 1])
                for logit in logits[b, n, k]:
                    if truth == 1:
                        total += float(F.softplus(-logit))
                        true += 1
                    elif truth == 0:
                        total += float(logit.sigmoid() ** 2 * F.softplus(logit))
    assert true > 0
    assert float(_phrase_loss(logits, batch)) == pytest.approx(total / true, rel=1e-4)


def test_phrase_logits_are_what_the_fusion_layer_attends_by(model: Detector, heads: RecognitionHeads) -> None:
    """The softmax of the real attention between start and end token must give the same preference."""
    level = torch.randn(1, 16, 6, 6, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[576, 3, 577] + [0] * 9])
    seen = {}
    layer = model.fusion_encoder.layers[0]
    layer.prompt_attention.register_forward_hook(lambda module, inputs, _: seen.update(query=inputs[0], key=inputs[1]))
    from masklet.layers.position import position_map

    position = position_map(height=6, width=6, channels=16, device=level.device, dtype=level.dtype)
    prompt = model.encode_text(ids)
    model.fusion_encoder(level.flatten(2).transpose(1, 2), position, prompt)
    query, key, _ = layer.prompt_attention.qkv.weight.chunk(3)
    query_bias, key_bias, _ = layer.prompt_attention.qkv.bias.chunk(3)
    q = F.linear(seen["query"], query, query_bias).unflatten(-1, (2, 8))[0]  # (N, heads, d)
    k = F.linear(seen["key"], key, key_bias).unflatten(-1, (2, 8))[0]  # (T, heads, d)
    scores = torch.einsum("nhd,thd->nth", q, k) / 8**0.5
    expected = scores[:, 2] - scores[:, 0]
    got = _phrase_logits(model, heads, level, ids)[0, :, 0] - heads.phrase_bias
    assert torch.allclose(got, expected, atol=1e-5)


def test_losses_reach_the_parts_they_should(model: Detector, heads: RecognitionHeads, batch: DenseBatch) -> None:
    total, terms = recognition_loss(model, heads, batch, masks=True)
    assert set(terms) == {*WEIGHTS, "named"}
    assert float(total.detach()) == pytest.approx(sum(float(WEIGHTS[name] * terms[name]) for name in WEIGHTS), rel=1e-5)
    total.backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {"vision_encoder", "neck", "text_encoder", "fusion_encoder", "mask_head"}
    value = model.fusion_encoder.layers[0].prompt_attention.qkv.weight.grad[32:]
    assert not value.any()  # only queries and keys are wired
    total, terms = recognition_loss(model, heads, batch, masks=False)
    assert "mask_focal" not in terms


def test_a_few_steps_lower_the_loss(model: Detector, heads: RecognitionHeads, batch: DenseBatch) -> None:
    parameters = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    losses = []
    for _ in range(30):
        torch.manual_seed(0)
        total, _ = recognition_loss(model, heads, batch, masks=True)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.7 * losses[0]
