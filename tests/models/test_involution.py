import numpy as np
import pytest
import torch

from hetsearch.models.involution import Involution, _InTraining, involve


def by_loops(x: np.ndarray, kernels: np.ndarray, kernel_size: int, groups: int, stride: int) -> np.ndarray:
    """The equation, cell by cell: Y[k, i, j] = sum over (u, v) of H[group of k, u, v, i, j] * X[k, i + u, j + v]."""
    batch, channels, height, width = x.shape
    out_height, out_width = kernels.shape[2:]
    half, per_group = kernel_size // 2, channels // groups
    y = np.zeros((batch, channels, out_height, out_width))
    for b, k, i, j in np.ndindex(batch, channels, out_height, out_width):
        for u in range(kernel_size):
            for v in range(kernel_size):
                row, column = i * stride + u - half, j * stride + v - half
                if 0 <= row < height and 0 <= column < width:
                    cell = (k // per_group) * kernel_size**2 + u * kernel_size + v
                    y[b, k, i, j] += kernels[b, cell, i, j] * x[b, k, row, column]
    return y


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 6), (4, 4)])
def test_involve_is_the_equation(kernel_size: int, groups: int, stride: int, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(kernel_size * 10 + groups + stride)
    x = torch.randn(2, 4, *size, generator=generator, dtype=torch.float64)
    out = [-(-side // stride) for side in size]
    kernels = torch.randn(2, groups * kernel_size**2, *out, generator=generator, dtype=torch.float64)
    found = involve(x, kernels, kernel_size=kernel_size, groups=groups, stride=stride)
    expected = by_loops(x.numpy(), kernels.numpy(), kernel_size, groups, stride)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_by_hand_is_the_gradient(
    kernel_size: int, groups: int, stride: int, memory_format: torch.memory_format
) -> None:
    x = torch.randn(2, 4, 5, 4, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    kernels = torch.randn(2, groups * kernel_size**2, -(-5 // stride), -(-4 // stride), dtype=torch.float64)
    kernels = kernels.to(memory_format=memory_format).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: _InTraining.apply(a, b, kernel_size, groups, stride), (x, kernels))


def test_a_layer_learns_in_bfloat16() -> None:
    torch.manual_seed(0)
    layer, x = Involution(2).train(), torch.randn(4, 2, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).float().square().mean().backward()  # the image is float32 and its kernels are not
    rough = layer.span.weight.grad.clone()
    layer.zero_grad()
    layer(x).square().mean().backward()
    torch.testing.assert_close(rough, layer.span.weight.grad, rtol=0.1, atol=0.02)


def test_a_layer_makes_its_kernels_from_the_pixels() -> None:
    torch.manual_seed(0)
    layer = Involution(4, kernel_size=3, groups=2, reduction=2).eval()
    x = torch.randn(1, 4, 5, 5)
    kernels = layer.span(layer.reduce(x))
    expected = by_loops(x.numpy(), kernels.detach().numpy(), 3, 2, 1)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_training_and_inference_apply_the_same_kernels(channels: int) -> None:
    torch.manual_seed(0)
    layer = Involution(channels, kernel_size=5).train()
    x = torch.randn(2, channels, 6, 6)
    kernels = layer.span(layer.reduce(x))
    expected = by_loops(x.numpy(), kernels.detach().numpy(), 5, 1, 1)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=1e-5)


def test_stride_halves_the_map_and_rounds_up() -> None:
    assert Involution(2, stride=2)(torch.randn(2, 2, 7, 8)).shape == (2, 2, 4, 4)


def test_gradients_reach_input_and_kernels() -> None:
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(1, 9, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: involve(a, b, kernel_size=3, groups=1), (x, kernels))


def test_parameters_of_the_layer_of_the_paper() -> None:
    # Three channels, K = 3, G = 1, r = 2: 3·1 weights, 2 of the norm, 1·9 + 9 of the span. Keras counts 26 with a
    # bias in front of the norm and its two running statistics.
    assert sum(p.numel() for p in Involution(3, kernel_size=3, reduction=2).parameters()) == 3 + 2 + 18


@pytest.mark.parametrize(("arguments", "message"), [({"kernel_size": 4}, "odd"), ({"groups": 2}, "divide")])
def test_impossible_layers_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Involution(3, **arguments)
