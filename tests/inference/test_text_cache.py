"""Text features: encoded once per phrase, equal to the model's own, bounded, shared by threads."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from masklet.errors import PromptError
from masklet.inference.text_cache import TextCache
from masklet.model.build import build_model
from masklet.model.detector import Detector
from masklet.model.tokenizer import Tokenizer
from masklet.types import PromptTokens


class Counted:
    """Counts the phrases that a model's text encoder sees."""

    def __init__(self, model: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
        self.phrases = 0
        encode = model.encode_text

        def counting(token_ids: Tensor) -> PromptTokens:
            self.phrases += len(token_ids)
            return encode(token_ids)

        monkeypatch.setattr(model, "encode_text", counting)


@pytest.fixture
def model() -> Detector:
    return build_model("test", seed=0)


def test_equal_to_the_model_in_the_order_asked(model: Detector) -> None:
    cache = TextCache(model)
    cache.tokens(["dog"])
    concepts = ["a red bus", "dog", "a red bus", "狗 🚚"]
    prompt = cache.tokens(concepts)
    expected = model.encode_text(Tokenizer(model.config.text.context, model.config.text.merges)(concepts))
    assert torch.equal(prompt.valid, expected.valid)
    # Phrases of other lengths share a pass here and there: only the order of additions differs.
    torch.testing.assert_close(prompt.tokens[prompt.valid], expected.tokens[prompt.valid], atol=1e-6, rtol=1e-5)
    assert not prompt.tokens.requires_grad


def test_every_phrase_is_encoded_once(model: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, cache = Counted(model, monkeypatch), TextCache(model)
    cache.tokens(["dog", "cat", "dog"])
    assert counted.phrases == 2
    cache.tokens(["cat", "bus", "dog"])
    assert counted.phrases == 3


def test_the_least_recently_used_goes_first(model: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, cache = Counted(model, monkeypatch), TextCache(model, capacity=2)
    for concept in ("dog", "cat", "dog", "bus"):  # cat goes
        cache.tokens([concept])
    assert (len(cache), counted.phrases) == (2, 3)
    cache.tokens(["dog"])
    assert counted.phrases == 3
    cache.tokens(["cat"])
    assert counted.phrases == 4
    cache.tokens(["one", "two", "three"])  # more at once than there is room for
    assert len(cache) == 2


def test_entries_do_not_keep_their_batch_alive(model: Detector) -> None:
    cache = TextCache(model)
    cache.tokens([f"dog {k}" for k in range(9)])
    tokens, _ = next(iter(cache._entries.values()))
    assert tokens.untyped_storage().nbytes() == tokens.nbytes


@pytest.mark.parametrize("concept", ["", "   ", "\n\t", "\x00", "\u3000"])
def test_nothing_to_look_for(model: Detector, concept: str) -> None:
    with pytest.raises(PromptError, match="at least one visible character"):
        TextCache(model).tokens(["dog", concept])


def test_not_text(model: Detector) -> None:
    with pytest.raises(PromptError, match="concept must be text, got int: 7"):
        TextCache(model).tokens([7])  # type: ignore[list-item]


def test_threads_share_a_cache(model: Detector) -> None:
    cache, expected = TextCache(model, capacity=5), TextCache(model).tokens([f"dog {k}" for k in range(8)])
    wrong: list[int] = []

    def work(offset: int) -> None:
        for step in range(40):
            k = (offset + step * 3) % 8
            if not torch.allclose(cache.tokens([f"dog {k}"]).tokens[0], expected.tokens[k], atol=1e-5):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(cache) <= 5
