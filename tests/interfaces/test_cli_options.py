"""The options of `balle-li compress` that decide quality, size, regions and tune."""

import json

import numpy as np
import pytest
from PIL import Image
from small_picture import picture

from balle_li.boxes import Box
from balle_li.codec.codec import Codec
from balle_li.image_io import Picture


def test_a_box_lands_where_a_viewer_shows_it(folder, run, variable):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("t.tif", "t.jpg", "t.png"):
        picture(3).save(folder / name, exif=exif, **({"quality": 100, "subsampling": 0} if name == "t.jpg" else {}))
        assert run("compress", name, "t.bli", "--force", "--boxes", "3,4,15,20")[0] == 0
        upright = Picture.read(folder / name)
        assert upright.size == (30, 40)
        expected = variable.compress(upright, boxes=[Box(0.1, 0.1, 0.5, 0.5)])
        assert (folder / "t.bli").read_bytes() == expected
        code, _, errors = run("compress", name, "t.bli", "--force", "--boxes", "31,4,39,20")
        assert code == 1 and "outside the picture of 30x40" in errors


def test_quality_size_and_regions(folder, run, variable):
    image = picture(0)
    for arguments, options in (
        (["--quality", 80], {"quality": 80}),
        (["--target-size", "130"], {"target_bytes": 130}),
        (["--target-bpp", 1.0], {"target_bytes": 150}),
        (["--target-bpp", 1.0], {"target_bpp": 1.0}),
        (["--boxes", "4,3,20,15"], {"boxes": [Box(0.1, 0.1, 0.5, 0.5)]}),
        (["--boxes", "4,3,20,15,1.5"], {"boxes": [Box(0.1, 0.1, 0.5, 0.5, weight=1.5)]}),
        (["--effort", 1, "--quiet"], {"effort": 1}),
    ):
        assert run("compress", "photos/a.png", "a.bli", "--force", *arguments) == (0, b"", "")
        assert (folder / "a.bli").read_bytes() == variable.compress(image, **options)
    Image.new("L", (4, 3), 192).save(folder / "map.png")
    assert run("compress", "photos/a.png", "a.bli", "--force", "--quality-map", "map.png")[0] == 0
    assert (folder / "a.bli").read_bytes() == variable.compress(image, quality_map=np.ones((1, 1)))


def test_an_effort_shows_progress(folder, run, variable):
    status, _, said = run("compress", "photos/a.png", "a.bli", "--effort", 1)
    assert status == 0 and said.startswith("Compressing: 100/100 % in ")


def test_a_tune_chooses_among_the_models_that_ship(folder, run, monkeypatch):
    made = {}
    for tune in ("psnr", "ms-ssim"):
        assert run("compress", "photos/a.png", f"{tune}.bli", "--tune", tune)[0] == 0
        made[tune] = json.loads(run("info", f"{tune}.bli", "--json")[1])["model"]
        assert made[tune] == Codec.load(tune=tune).fingerprint.hex()
        assert run("decompress", f"{tune}.bli", f"{tune}.png")[0] == 0
    assert made["psnr"] != made["ms-ssim"]
    assert "tune is 'vmaf', must be ms-ssim or psnr" in run("compress", "photos/a.png", "--tune", "vmaf")[2]
    refused = run("compress", "photos/a.png", "--tune", "psnr", "--model", str(folder / "roi"))
    assert refused[0] == 1 and "give a model or a tune, not both" in refused[2]


def test_info_shows_the_quality(folder, run, variable):
    run("compress", "photos/a.png", "a.bli", "--quality", 75)
    assert json.loads(run("info", "a.bli", "--json")[1])["quality"] == 75
    run("compress", "photos/a.png", "b.bli", "--boxes", "0,0,20,20")
    assert json.loads(run("info", "b.bli", "--json")[1])["quality"] == "by region"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target-size", "5"], "takes at least"),
        (["--boxes", "1,2,3"], "not x0,y0,x1,y1"),
        (["--boxes", "900,900,999,999"], "outside the picture"),
        (["--quality", "50", "--target-size", "9k"], "give one of"),
        (["--quality-map", "nowhere.png"], "does not exist"),
    ],
)
def test_options_that_cannot_be_met_are_one_line(folder, run, variable, options, words):
    code, _, errors = run("compress", "photos/a.png", "a.bli", *options)
    assert code == 1 and words in errors and errors.count("\n") == 1
    assert not (folder / "a.bli").exists()


def test_a_model_of_one_rate_says_so(folder, run):
    code, _, errors = run("compress", "photos/a.png", "a.bli", "--quality", "50")
    assert code == 1 and "balle has one rate" in errors
