"""Products written as sums: what the library's batched product gives, and nothing else in the graph."""

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from milepost.atoms.exporting_products import FUSED, UNROLLED, sum_of_products

INNER = (1, 3, UNROLLED, UNROLLED + 1, 64)


def factors(inner: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(inner)
    shapes = ((5, 4, inner), (5, inner, 6))
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return first, second


@pytest.mark.parametrize("inner", INNER)
def test_the_product_is_the_librarys(inner: int) -> None:
    first, second = factors(inner)
    torch.testing.assert_close(sum_of_products(first, second), torch.bmm(first, second), rtol=1e-13, atol=1e-13)


class Product(nn.Module):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.matmul(first, second)


@pytest.mark.parametrize("mode", ["real", "symbolic"])
@pytest.mark.parametrize("inner", INNER)
def test_no_batched_product_is_left_in_a_graph(inner: int, mode: str) -> None:
    """Not even for a length that is free, as the number of slots is."""
    first, second = factors(inner)
    graph = make_fx(Product(), dict(FUSED), mode)(first, second)
    names = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
    assert any("mul" in name for name in names)
    assert not any("bmm" in name for name in names)
    torch.testing.assert_close(graph(first, second), first @ second, rtol=1e-13, atol=1e-13)
    assert any("bmm" in str(node.target) for node in make_fx(Product())(first, second).graph.nodes)
