"""The dense losses against loops, and where their gradients go."""

import pytest
import torch
import torch.nn.functional as F

from masklet.inference.exemplars import batch_exemplars
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.training.batches import BatchMaker, DenseBatch
from masklet.training.recognition import (
    WEIGHTS,
    RecognitionHeads,
    _attraction,
    _attraction_loss,
    _patch_queries,
    _shown,
    recognition_loss,
)
from masklet.types import Exemplar


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


def test_attraction_loss_equals_a_loop(batch: DenseBatch) -> None:
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
    loss = _attraction_loss(logits, batch.patch_instances.flatten(1), batch.truths)
    assert float(loss) == pytest.approx(total / true, rel=1e-4)


def test_attraction_is_what_the_fusion_layer_attends_by(model: Detector, heads: RecognitionHeads) -> None:
    """The softmax of the real attention between start and end token must give the same preference."""
    level = torch.randn(1, 16, 6, 6, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[576, 3, 577] + [0] * 9])
    seen = {}
    layer = model.fusion_encoder.layers[0]
    layer.prompt_attention.register_forward_hook(lambda module, inputs, _: seen.update(query=inputs[0], key=inputs[1]))
    from masklet.layers.position import position_map

    position = position_map(height=6, width=6, channels=16, device=level.device, dtype=level.dtype)
    prompt = model.encode_text(ids)
    model.fusion_encoder(level.flatten(2).transpose(1, 2), torch.zeros(1, dtype=torch.int64), position, prompt)
    query, key, _ = layer.prompt_attention.qkv.weight.chunk(3)
    query_bias, key_bias, _ = layer.prompt_attention.qkv.bias.chunk(3)
    q = F.linear(seen["query"], query, query_bias).unflatten(-1, (2, 8))[0]  # (N, heads, d)
    k = F.linear(seen["key"], key, key_bias).unflatten(-1, (2, 8))[0]  # (T, heads, d)
    scores = torch.einsum("nhd,thd->nth", q, k) / 8**0.5
    expected = scores[:, 2] - scores[:, 0]
    difference = prompt.tokens[:, 2] - prompt.tokens[:, 0]
    got = _attraction(model, heads, _patch_queries(model, level), difference)[0, :, 0] - heads.phrase_bias
    assert torch.allclose(got, expected, atol=1e-5)


def test_losses_reach_the_parts_they_should(model: Detector, heads: RecognitionHeads, batch: DenseBatch) -> None:
    total, terms = recognition_loss(model, heads, batch, masks=True, exemplars=2)
    assert set(terms) == {*WEIGHTS, "named"}
    assert float(total.detach()) == pytest.approx(sum(float(WEIGHTS[name] * terms[name]) for name in WEIGHTS), rel=1e-5)
    total.backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {
        "vision_encoder",
        "neck",
        "text_encoder",
        "geometry_encoder",
        "fusion_encoder",
        "mask_head",
    }
    value = model.fusion_encoder.layers[0].prompt_attention.qkv.weight.grad[32:]
    assert not value.any()  # only queries and keys are wired
    total, terms = recognition_loss(model, heads, batch, masks=False)
    assert not {"mask_focal", "shown"} & set(terms)


@pytest.mark.parametrize("positive", [True, False])
def test_a_shown_box_means_its_symbol_on_every_picture(model: Detector, batch: DenseBatch, positive: bool) -> None:
    level = torch.randn(3, 16, 6, 6, generator=torch.Generator().manual_seed(1))
    tokens, truths = _shown(model, level, batch, 2, 0.0 if positive else 1.0)
    asked = [(b, i) for b in range(3) for i in range(2) if batch.symbols[b, i] >= 0]
    assert tokens.shape == (len(asked), 16)
    for row, (b, i) in enumerate(asked):
        assert torch.equal(truths[row].bool(), (batch.symbols == batch.symbols[b, i]) & positive)
        x, y, width, height = batch.boxes_cxcywh_norm[b, i].tolist()
        exemplar = Exemplar(
            (6 * (x - width / 2), 6 * (y - height / 2), 6 * (x + width / 2), 6 * (y + height / 2)), positive
        )
        one = batch_exemplars([[exemplar]], [(6, 6)])
        expected = model.geometry_encoder(level, torch.tensor([b]), one).tokens[0, 0]
        assert torch.allclose(tokens[row], expected, atol=1e-5)


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
