"""Where a time meets points: times keep their digits, and a coefficient per item meets its own item."""

import pytest
import torch

from driftback.shapes import as_time, per_item, sum_event


@pytest.mark.parametrize("t", [1 / 3, torch.tensor(1 / 3, dtype=torch.float64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_time_has_sixteen_digits_whatever_the_points(t, dtype) -> None:
    found = as_time(t, torch.zeros(3, 2, dtype=dtype))
    assert found.dtype == torch.float64
    assert float(found) == 1 / 3
    assert float(found) != float(torch.tensor(1 / 3, dtype=torch.float32))


def test_a_coefficient_belongs_to_an_item() -> None:
    x, c = torch.ones(3, 3, 3), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert torch.equal((per_item(c, x) * x)[:, 0, 0], c.float())
    assert torch.equal((per_item(c, x) * x)[1], torch.full((3, 3), 2.0))
    assert per_item(c[0], x).shape == ()
    assert per_item(c, x).dtype == torch.float32


def test_an_event_is_summed_whole() -> None:
    x = torch.arange(24.0).reshape(2, 3, 4)
    assert sum_event(x).tolist() == [66.0, 210.0]
    assert sum_event(x[:, 0, 0]).tolist() == [0.0, 12.0]
