"""Both attention kernels against the formula in float64, and the choice between them."""

import pytest
import torch

from masklet.layers import attention
from masklet.layers.attention import MultiHeadAttention, ProjectedAttention, attend, padding_mask, use_kernel

KERNELS = ("fused", "products")
# (P, heads, Tq, Tk, d); the last three are past the size up to which the products work on everything at once, and their
# rows, or windows, do not divide into blocks evenly.
SHAPES = ((2, 3, 5, 7, 8), (1, 1, 1, 1, 4), (2, 2, 600, 1000, 16), (1, 2, 1153, 577, 8), (70, 2, 90, 100, 4))
LONG, FEW_QUERIES, FEW_KEYS = (1, 1, 64, 66, 4), (1, 1, 31, 64, 4), (1, 1, 64, 63, 4)  # measured for the first only
# float32 products of up to 1,153 terms, of values up to 4: rounding stays below 1e-6 of them.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def forget_choice():
    """The measured choice is made anew in the test, and again after it."""
    attention._faster_kernel_for_bfloat16.cache_clear()
    yield
    attention._faster_kernel_for_bfloat16.cache_clear()


def inputs(shape, seed=0):
    batch, heads, rows, keys, width = shape
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, heads, length, width, generator=generator) for length in (rows, keys, keys)]


def formula(query, key, value, mask=None):
    scores = torch.einsum("phqd,phkd->phqk", query.double(), key.double()) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask.double()
    weights = torch.exp(scores - scores.amax(-1, keepdim=True))
    return torch.einsum("phqk,phkd->phqd", weights / weights.sum(-1, keepdim=True), value.double()).float()


def masks_for(shape):
    """A mask of every kind that the network uses."""
    batch, heads, rows, keys, _ = shape
    generator = torch.Generator().manual_seed(1)
    valid = torch.rand(batch, keys, generator=generator) > 0.3
    valid[:, 0] = True
    return {
        "none": None,
        "padding": padding_mask(valid),
        "causal": torch.ones(rows, keys, dtype=torch.bool).tril(),
        "bias": torch.randn(batch, heads, rows, keys, generator=generator),
        "bias of all heads": torch.randn(batch, 1, rows, keys, generator=generator),
    }


@pytest.mark.parametrize("kind", ["none", "padding", "causal", "bias", "bias of all heads"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_follow_the_formula(kernel, shape, kind):
    mask = masks_for(shape)[kind]
    with torch.no_grad(), use_kernel(kernel):
        torch.testing.assert_close(attend(*inputs(shape), mask=mask), formula(*inputs(shape), mask), **CLOSE)


@pytest.mark.parametrize("kernel", KERNELS)
def test_views_as_the_projections_give_them(kernel):
    """Heads split off a fused projection are not contiguous."""
    x = torch.randn(2, 600, 3, 2, 16, generator=torch.Generator().manual_seed(2))
    query, key, value = (part.transpose(1, 2) for part in x.unbind(2))
    with torch.no_grad(), use_kernel(kernel):
        torch.testing.assert_close(attend(query, key, value), formula(query, key, value), **CLOSE)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(0, 2, 5, 7, 8), (2, 2, 0, 7, 8)], ids=["no prompts", "no queries"])
def test_nothing_in_nothing_out(kernel, shape):
    with torch.no_grad(), use_kernel(kernel):
        assert attend(*inputs(shape)).shape == shape[:3] + shape[4:]


@pytest.mark.parametrize("kernel", KERNELS)
def test_bfloat16_stays_within_its_roundings(kernel):
    """Scores and weights of 8 bits: differences of some 2**-8 of the largest value, 1."""
    shape = (1, 2, 600, 1000, 16)
    query, key, value = (part.bfloat16() for part in inputs(shape))
    mask = masks_for(shape)["bias"].bfloat16()
    with torch.no_grad(), use_kernel(kernel):
        found = attend(query, key, value, mask=mask)
    assert found.dtype == torch.bfloat16
    assert float((found.float() - formula(query, key, value, mask)).abs().max()) < 0.02


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_kernels_have_the_same_gradients(shape):
    gradients = []
    for kernel in KERNELS:
        parts = [part.requires_grad_() for part in inputs(shape)]
        with use_kernel(kernel):
            attend(*parts, mask=masks_for(shape)["bias"]).square().sum().backward()
        gradients.append([part.grad for part in parts])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)  # sums of up to 1,000 terms of size 1


# --- the choice -------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that runs slower within one kernel."""

    def __init__(self, monkeypatch, slow):
        self.now = 0.0
        self.calls = []
        real = {"fused": torch.nn.functional.scaled_dot_product_attention, "products": attention._attend_by_products}
        for kernel, place, name in (
            ("fused", attention.F, "scaled_dot_product_attention"),
            ("products", attention, "_attend_by_products"),
        ):
            monkeypatch.setattr(place, name, self.counted(kernel, real[kernel], 2.0 if kernel == slow else 1.0))
        monkeypatch.setattr(attention.time, "perf_counter", lambda: self.now)

    def counted(self, kernel, function, seconds):
        def call(*args, **kwargs):
            self.now += seconds
            self.calls.append(kernel)
            return function(*args, **kwargs)

        return call


@pytest.mark.parametrize("slow", KERNELS)
@pytest.mark.usefixtures("forget_choice")
def test_the_faster_kernel_is_taken_for_bfloat16(monkeypatch, slow):
    clock = Clock(monkeypatch, slow)
    parts = [part.bfloat16() for part in inputs(LONG)]
    attend(*parts)
    assert set(clock.calls) == set(KERNELS)
    assert clock.calls[-1] != slow


@pytest.mark.usefixtures("forget_choice")
def test_it_is_measured_once(monkeypatch):
    clock = Clock(monkeypatch, "fused")
    parts = [part.bfloat16() for part in inputs(LONG)]
    attend(*parts)
    measured = len(clock.calls)
    attend(*parts)
    assert len(clock.calls) == measured + 1


@pytest.mark.parametrize(
    ("shape", "dtype"), [(LONG, torch.float32), (FEW_QUERIES, torch.bfloat16), (FEW_KEYS, torch.bfloat16)], ids=str
)
@pytest.mark.usefixtures("forget_choice")
def test_no_measurement_where_the_fused_kernel_is_the_faster_one(monkeypatch, shape, dtype):
    clock = Clock(monkeypatch, "fused")
    attend(*[part.to(dtype) for part in inputs(shape)])
    assert clock.calls == ["fused"]


@pytest.mark.parametrize("shape", [FEW_QUERIES, FEW_KEYS], ids=str)
@pytest.mark.usefixtures("forget_choice")
def test_gradients_are_always_worth_a_measurement(monkeypatch, shape):
    clock = Clock(monkeypatch, "fused")
    query, key, value = (part.bfloat16() for part in inputs(shape))
    attend(query, key, value.requires_grad_())
    assert clock.calls[-1] == "products"
    with torch.no_grad():
        attend(query, key, value)
    assert clock.calls[-1] == "fused"


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("forget_choice")
def test_a_given_kernel_is_used_and_given_back(monkeypatch, kernel, dtype):
    clock = Clock(monkeypatch, "products")
    parts = [part.to(dtype) for part in inputs(LONG)]
    with use_kernel(kernel):
        with use_kernel(None):
            attend(*parts)
        clock.calls.clear()
        attend(*parts)
        assert clock.calls == [kernel]
    clock.calls.clear()
    attend(*parts)
    assert clock.calls[-1] == "fused"


@pytest.mark.usefixtures("forget_choice")
def test_the_choice_draws_no_random_numbers():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    attend(*[part.bfloat16() for part in inputs(LONG)])
    assert torch.equal(torch.get_rng_state(), before)


# --- the module -------------------------------------------------------------------------------------------------------


def test_inputs_that_are_the_same_object_give_the_same_numbers():
    """One, two or three products make q, k and v: the results differ by rounding alone."""
    torch.manual_seed(4)
    module = MultiHeadAttention(width=16, heads=2)
    x, y = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    with torch.no_grad():
        for query, key, value in ((x, x, x), (x, x, y), (x, y, y)):
            apart = module(query.clone(), key.clone(), value.clone())
            torch.testing.assert_close(module(query, key, value), apart, **CLOSE)


def test_query_key_and_value_keep_their_places():
    """Zero values give the bias of the last projection, whatever the queries and keys are."""
    torch.manual_seed(5)
    module = MultiHeadAttention(width=16, heads=2)
    torch.nn.init.zeros_(module.qkv.bias)
    x = torch.randn(1, 3, 16)
    with torch.no_grad():
        torch.testing.assert_close(module(x, x, torch.zeros_like(x)), module.out.bias.expand(1, 3, 16))
        assert not torch.allclose(module(torch.zeros_like(x), x, x), module.out.bias.expand(1, 3, 16))


def test_projected_attention_of_other_widths():
    """Narrow heads, keys of another width; one query set or one key set stands for all at no cost."""
    generator = torch.Generator().manual_seed(0)
    attention = ProjectedAttention(width=12, inner_width=6, heads=2, key_width=5).requires_grad_(False)
    query, key, value = (torch.randn(3, *shape, generator=generator) for shape in ((4, 12), (7, 5), (7, 5)))

    def by_hand(row_q, row_k):
        q, k, v = attention.q(query[row_q]), attention.k(key[row_k]), attention.v(value[row_k])
        q, k, v = (x.unflatten(-1, (2, 3)).transpose(0, 1) for x in (q, k, v))  # (heads, T, d)
        mixed = (q @ k.transpose(1, 2) / 3**0.5).softmax(-1) @ v
        return attention.out(mixed.transpose(0, 1).flatten(1))

    for found, rows in (
        (attention(query, key, value), [(0, 0), (1, 1), (2, 2)]),
        (attention(query[:1], key, value), [(0, 0), (0, 1), (0, 2)]),
        (attention(query, key[:1], value[:1]), [(0, 0), (1, 0), (2, 0)]),
    ):
        torch.testing.assert_close(found, torch.stack([by_hand(*each) for each in rows]))
    assert attention(query[:0], key[:1], value[:1]).shape == (0, 4, 12)
