import torch

from balle_li.quality_map import LIMIT, QUALITY_SPAN, STEPS
from balle_li.training.quality_maps import draw_quality_maps, quality_sweep

CPU = torch.device("cpu")


def test_draws_are_levels_and_cover_the_range():
    torch.manual_seed(0)
    r = draw_quality_maps(400, 8, 6, None, CPU)
    assert r.shape == (400, 1, 8, 6)
    assert torch.equal(r * STEPS, (r * STEPS).round())
    assert float(r.abs().max()) <= LIMIT / STEPS
    even = r.amax(dim=(1, 2, 3)) == r.amin(dim=(1, 2, 3))
    assert 100 < int(even.sum()) < 300  # about half of the pictures have a region
    bases = r[even][:, 0, 0, 0]
    assert float(bases.min()) < -0.9 * QUALITY_SPAN
    assert float(bases.max()) > 0.9 * QUALITY_SPAN


def test_a_region_is_a_rectangle():
    torch.manual_seed(1)
    r = draw_quality_maps(50, 8, 8, None, CPU)[:, 0]
    for picture in r:
        values = picture.unique()
        assert len(values) <= 2
        if len(values) == 2:
            inside = [picture == value for value in values]
            assert any(rows_by_columns(mask) for mask in inside)


def rows_by_columns(mask: torch.Tensor) -> bool:
    return torch.equal(mask, mask.any(dim=1)[:, None] & mask.any(dim=0))


def test_labelled_boxes_become_regions():
    torch.manual_seed(2)
    boxes = torch.zeros(200, 1, 32, 32)
    boxes[:, :, 4:20, 16:24] = 0.5  # the latents' rows 0 and 1 in part, of columns 2 and 3 the first
    r = draw_quality_maps(200, 4, 4, boxes, CPU)[:, 0]
    cover = torch.zeros(4, 4)
    cover[0, 2], cover[1, 2], cover[2, 2] = 0.5, 1.0, 0.5
    like_boxes = 0
    for picture in r:
        change = picture - picture[3, 0]
        scale = change[1, 2]
        if scale != 0 and torch.allclose(change, cover * scale, atol=1.1 / STEPS) and change[0, 2] != scale:
            like_boxes += 1
    assert like_boxes > 20


def test_processes_draw_together_what_one_draws():
    torch.manual_seed(3)
    whole = draw_quality_maps(6, 4, 4, None, CPU)
    parts = []
    for rank in range(2):
        torch.manual_seed(3)
        parts.append(draw_quality_maps(3, 4, 4, None, CPU, (rank, 2)))
    assert torch.equal(whole, torch.cat(parts))


def test_a_quality_sweep_belongs_to_the_pictures():
    r = quality_sweep(range(7), 2, 3, CPU)
    assert r.shape == (7, 1, 2, 3)
    assert torch.equal(r[0], r[5])
    assert torch.equal(quality_sweep([3, 4], 2, 3, CPU), r[3:5])
    assert r[0, 0, 0, 0] == -QUALITY_SPAN
    assert r[4, 0, 0, 0] == QUALITY_SPAN
