"""The command line: which files it reads and writes, what it says, and how it exits."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_picture import picture

import balle_li
from balle_li.codec.codec import Codec


def test_one_picture_there_and_back(folder, run):
    codec = Codec.load(folder / "model")
    assert run("compress", "photos/a.png", "a.bli") == (0, b"", "")
    assert (folder / "a.bli").read_bytes() == codec.compress(picture(0))
    assert run("decompress", "a.bli", "back.png") == (0, b"", "")
    decoded = np.asarray(codec.decompress(codec.compress(picture(0))))
    assert np.array_equal(np.asarray(Image.open(folder / "back.png")), decoded)


def test_destinations_default_to_beside_the_source(folder, run):
    assert run("compress", "photos/a.png")[0] == 0
    assert run("decompress", "photos/a.bli", "--format", "webp")[0] == 0
    assert Image.open(folder / "photos" / "a.webp").format == "WEBP"


def test_folders_keep_their_structure(folder, run):
    code, _, errors = run("compress", "photos", "out", "--workers", 2)
    assert code == 0 and "3/3 pictures" in errors
    assert sorted(str(file.relative_to(folder / "out")) for file in (folder / "out").rglob("*.bli")) == [
        "a.bli",
        "b.bli",
        "deep/c.bli",
    ]
    assert run("decompress", "out", "back")[0] == 0
    assert len(list((folder / "back").rglob("*.png"))) == 3
    assert run("compress", "photos/a.png", "photos/b.webp", "two")[0] == 0
    assert len(list((folder / "two").iterdir())) == 2


def test_standard_input_and_output(folder, run):
    source = (folder / "photos" / "a.png").read_bytes()
    code, stream, _ = run("compress", "-", "-", stdin=source)
    assert code == 0 and stream == Codec.load(folder / "model").compress(picture(0))
    code, decoded, _ = run("decompress", "-", stdin=stream)
    assert code == 0 and Image.open(io.BytesIO(decoded)).size == (40, 30)
    assert run("decompress", "-", "x.png", stdin=stream)[0] == 0 and (folder / "x.png").is_file()
    assert run("compress", "photos/a.png", "-")[1] == stream


def test_nothing_is_overwritten_without_force(folder, run):
    (folder / "a.bli").write_bytes(b"precious")
    code, _, errors = run("compress", "photos/a.png", "a.bli")
    assert code == 1 and "a.bli exists; --force" in errors and (folder / "a.bli").read_bytes() == b"precious"
    assert run("compress", "photos/a.png", "a.bli", "--force")[0] == 0
    assert (folder / "a.bli").read_bytes() != b"precious"


def test_a_failure_does_not_keep_the_others_from_being_done(folder, run):
    (folder / "photos" / "broken.png").write_bytes((folder / "photos" / "a.png").read_bytes()[:200])
    (folder / "photos" / "text.png").write_text("hello")
    code, _, errors = run("compress", "photos", "out")
    assert code == 1 and len(list((folder / "out").rglob("*.bli"))) == 3
    lines = [line for line in errors.splitlines() if line.startswith("balle-li: ")]
    assert len(lines) == 2 and any("broken.png" in line for line in lines) and any("text.png" in line for line in lines)
    assert not [file for file in (folder / "out").rglob("*") if file.name.endswith(".part")]


def test_a_decoder_that_fails_in_its_own_way_costs_one_picture(folder, run, monkeypatch):
    Image.effect_noise((64, 64), 90).convert("RGB").save(folder / "photos" / "bad.avif")
    data = bytearray((folder / "photos" / "bad.avif").read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = b"\xff" * (len(data) - start)  # libavif finds that out as it decodes, and Pillow raises RuntimeError
    (folder / "photos" / "bad.avif").write_bytes(data)
    code, _, errors = run("compress", "photos", "out", "--workers", 2)
    lines = [line for line in errors.splitlines() if line.startswith("balle-li: ")]
    assert code == 1 and len(lines) == 1 and "bad.avif: cannot be decoded" in lines[0]
    assert len(list((folder / "out").rglob("*.bli"))) == 3


def test_whatever_fails_costs_one_picture(folder, run, monkeypatch):
    compress = Codec.compress

    def fail(self, picture, options, **more):
        if np.array_equal(picture.rgb, np.asarray(globals()["picture"](1))):
            raise RuntimeError("an error\nof torch")
        return compress(self, picture, options, **more)

    monkeypatch.setattr(Codec, "compress", fail)
    code, _, errors = run("compress", "photos", "out")
    lines = [line for line in errors.splitlines() if line.startswith("balle-li: ")]
    assert code == 1 and lines == ["balle-li: photos/b.webp: RuntimeError: an error of torch"]
    assert len(list((folder / "out").rglob("*.bli"))) == 2


def test_what_a_folder_holds_besides_pictures_is_skipped_and_counted(folder, run):
    for name in ("._a.png", "notes.pdf", "film.mov", "deep/.DS_Store", "a.txt"):
        (folder / "photos" / name).write_bytes(b"\0\5\x16\7")
    (folder / "photos" / "loop").symlink_to(folder / "photos", target_is_directory=True)
    (folder / "photos" / "folder.jpg").mkdir()
    code, _, errors = run("compress", "photos", "out")
    lines = [line for line in errors.splitlines() if line.startswith("balle-li: ")]
    assert code == 0 and len(list((folder / "out").rglob("*.bli"))) == 3
    assert lines == ["balle-li: skipping 5 files that are no pictures: ._a.png, a.txt, deep/.DS_Store and 2 more"]
    assert run("compress", "photos")[0] == 0
    assert "6 files" not in run("compress", "photos", "--force")[2]  # streams beside the pictures are not worth a word


def test_two_pictures_of_one_stem_are_told_apart(folder, run):
    picture(3).save(folder / "photos" / "a.jpg")
    code, _, errors = run("compress", "photos", "out")
    assert code == 0 and "balle-li: " not in errors
    assert {file.name for file in (folder / "out").rglob("*.bli")} == {"a.png.bli", "a.jpg.bli", "b.bli", "c.bli"}
    (folder / "out" / "._b.bli").write_bytes(b"\0\5\x16\7")
    assert run("decompress", "out", "back")[0] == 0
    assert {file.name for file in (folder / "back").rglob("*.png")} == {"a.png.png", "a.jpg.png", "b.png", "c.png"}


def test_of_two_pictures_that_cannot_be_told_apart_the_first_is_done(folder, run):
    (folder / "more").mkdir()
    picture(3).save(folder / "more" / "a.png")
    code, _, errors = run("compress", "photos/a.png", "more/a.png", "photos/b.webp", "photos/b.webp", "out")
    lines = [line for line in errors.splitlines() if line.startswith("balle-li: ")]
    assert (
        code == 1
        and len(lines) == 1
        and lines[0].startswith("balle-li: more/a.png: photos/a.png goes to out/a.png.bli")
    )
    assert {file.name for file in (folder / "out").iterdir()} == {"a.png.bli", "b.bli"}


def test_names_as_long_as_the_file_system_allows(folder, run):
    name = "x" * 251
    picture(3).save(folder / "photos" / f"{name}.png", "PNG")
    assert run("compress", "photos", "out")[0] == 0 and (folder / "out" / f"{name}.bli").is_file()
    assert run("decompress", "out", "back")[0] == 0 and (folder / "back" / f"{name}.png").is_file()
    code, _, errors = run("decompress", f"out/{name}.bli", "--format", "webp")
    assert code == 1 and errors.count("\n") == 1 and "too long" in errors
    code, _, errors = run("compress", "y" * 300 + ".png")
    assert code == 1 and errors.count("\n") == 1 and "too long" in errors


def test_names_that_are_no_utf8(folder, run):
    name = os.fsdecode(b"photos/caf\xe9.png")
    picture(3).save(name)
    assert run("compress", name)[0] == 0
    stream = os.fsdecode(b"photos/caf\xe9.bli")
    code, out, _ = run("info", stream)
    assert code == 0 and b"caf\\xe9.bli" in out
    assert json.loads(run("info", "--json", stream)[1])["width"] == 40
    code, _, errors = run("compress", name)
    assert code == 1 and "caf\\xe9.bli exists" in errors
    for arguments in (("compress", os.fsdecode(b"caf\xe9.png")), ("info", os.fsdecode(b"caf\xe9.bli"))):
        code, _, errors = run(*arguments)
        assert code == 1 and errors.count("\n") == 1 and "caf\\xe9." in errors


def test_heic_under_its_own_name_and_anothers(folder, run):
    import pillow_heif

    pillow_heif.from_pillow(picture(3)).save(folder / "photos" / "phone.heic")
    (folder / "photos" / "named.jpg").write_bytes((folder / "photos" / "phone.heic").read_bytes())
    assert run("compress", "photos", "out")[0] == 0
    assert len(list((folder / "out").rglob("*.bli"))) == 5
    assert run("decompress", "out/phone.bli", "back.heic")[0] == 0
    assert pillow_heif.open_heif(folder / "back.heic").size == (40, 30)


def test_broken_exif_is_said_once_and_costs_nothing(folder, run):
    picture(3).save(folder / "e.jpg", exif=b"Exif\0\0garbage-garbage-")
    assert run("compress", "e.jpg") == (0, b"", "balle-li: e.jpg: its EXIF is damaged and is left out\n")
    for name in ("e.tif", "e.avif", "e.jpeg"):
        assert run("decompress", "e.bli", name) == (0, b"", "")
        assert Image.open(folder / name).size == (40, 30)


def test_what_a_format_cannot_hold_is_said(folder, run):
    picture(3).save(folder / "e.png", icc_profile=b"profile")
    run("compress", "e.png")
    code, _, errors = run("decompress", "e.bli", "e.ppm")
    assert code == 0 and errors == "balle-li: e.bli: PPM holds no ICC profile: it is left out\n"


def test_damaged_and_missing_files_are_named_in_one_line(folder, run):
    run("compress", "photos/a.png", "a.bli")
    (folder / "a.bli").write_bytes((folder / "a.bli").read_bytes()[:-9])
    for source in ("a.bli", "nowhere.bli"):
        code, _, errors = run("decompress", source, "out.png")
        assert code == 1 and errors.count("\n") == 1 and source in errors and "Traceback" not in errors
        code, _, errors = run("info", source)
        assert code == 1 and errors.count("\n") == 1 and source in errors
    assert not (folder / "out.png").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("compress",),
        ("compress", "photos/a.png", "photos/b.webp"),
        ("compress", "photos/a.png", "out.png"),
        ("compress", "photos", "-"),
        ("compress", "-", "photos/a.png", "out"),
        ("compress", "empty"),
        ("decompress", "a.bli", "b.bli"),
        ("decompress", "a.bli", "--format", "xyz"),
        ("decompress", "a.bli", "--quality", "5"),
        ("compress", "photos/a.png", "--workers", "0"),
    ],
)
def test_what_makes_no_sense_exits_with_2(folder, run, arguments):
    (folder / "empty").mkdir()
    code, _, errors = run(*arguments)
    assert code == 2 and "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compress", ""), "one of the paths is empty"),
        (("decompress", ""), "one of the paths is empty"),
        (("info", ""), "one of the paths is empty"),
        (("compress", "photos/a.png", ""), "one of the paths is empty"),
        (("compress", "photos/a.png", "-o", ""), "one of the paths is empty"),
        (("compress", "-", "new/"), "standard input goes to one file"),
    ],
)
def test_paths_that_name_no_file_write_nothing(folder, run, arguments, words):
    before = sorted(folder.rglob("*"))
    code, _, errors = run(*arguments, stdin=(folder / "photos" / "a.png").read_bytes())
    assert code == 2 and words in errors and sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("destination", "reason"),
    [("photos/b.webp/x.bli", "Not a directory"), ("/proc/x.bli", "No such file or directory")],
)
def test_a_destination_that_cannot_be_written_is_named(folder, run, destination, reason):
    code, _, errors = run("compress", "photos/a.png", destination)
    assert code == 1 and errors == f"balle-li: photos/a.png: {destination} cannot be written: {reason}\n"


def test_a_missing_model_is_said_once(folder, run):
    code, _, errors = run("compress", "photos", "out", "--model", "nowhere")
    assert code == 1 and errors.count("\n") == 1 and "not a model folder" in errors


def test_metadata_survives_both_ways(folder, run):
    image, exif = picture(), Image.Exif()
    exif[0x010F] = "a camera"
    image.save(folder / "m.png", exif=exif, icc_profile=b"profile")
    run("compress", "m.png")
    run("decompress", "m.bli", "m.webp")
    back = Image.open(folder / "m.webp")
    assert back.getexif()[0x010F] == "a camera" and back.info["icc_profile"] == b"profile"
    run("compress", "m.png", "s.bli", "--strip")
    assert set(json.loads(run("info", "--json", "s.bli")[1])["sections"]) <= {"latents", "latents_escaped", "container"}


def test_pictures_with_alpha_do_not_become_jpeg_silently(folder, run):
    picture(mode="RGBA").save(folder / "t.png")
    run("compress", "t.png")
    code, _, errors = run("decompress", "t.bli", "t.jpg")
    assert code == 1 and "t.bli" in errors and not (folder / "t.jpg").exists()


def test_info_and_models_tell_the_facts(folder, run):
    run("compress", "photos/a.png", "a.bli")
    facts = json.loads(run("info", "--json", "a.bli")[1])
    size = (folder / "a.bli").stat().st_size
    assert (facts["width"], facts["height"], facts["mode"], facts["bytes"]) == (40, 30, "RGB", size)
    assert sum(facts["sections"].values()) == size and facts["bpp"] == pytest.approx(8 * size / 1200, abs=1e-4)
    assert b"width        40" in run("info", "a.bli")[1]
    model = json.loads(run("models", "--json")[1])
    assert (model["fingerprint"], model["name"], model["N"]) == (facts["model"], "balle", 8)
    assert run("models", "nowhere")[0] == 1


@pytest.mark.parametrize("arguments", [("info", "a.bli"), ("compress", "photos/a.png", "-")])
def test_what_standard_output_cannot_take_is_one_line(folder, run, arguments):
    run("compress", "photos/a.png", "a.bli")
    program = "import sys; from balle_li.interfaces import cli; cli.main()"
    environment = {"PYTHONPATH": ":".join(sys.path), "BALLE_LI_MODEL": str(folder / "model")}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", program, *arguments]
        answer = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE)
    assert answer.returncode == 1 and answer.stderr.count(b"\n") == 1 and b"No space left on device" in answer.stderr


def test_the_command_imports_nothing_heavy_but_torch(folder):
    program = (
        "import sys\nfrom balle_li.interfaces import cli\nassert 'torch' not in sys.modules\n"
        "sys.argv = ['balle-li', 'compress', 'photos/a.png', 'a.bli']\n"
        "try:\n    cli.main()\nexcept SystemExit as leaving:\n    assert not leaving.code\n"
        "heavy = {'compressai', 'lightning_fabric', 'mlflow', 'pandas', 'scipy', 'torchvision', 'kedro', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    environment = {"PYTHONPATH": ":".join(sys.path), "BALLE_LI_MODEL": str(folder / "model")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, cwd=folder)
    assert (folder / "a.bli").is_file()


def test_output_is_where_everything_goes(folder, run):
    assert run("compress", "photos/a.png", "-o", "a.bli")[0] == 0
    assert run("compress", "photos/a.png", "photos/b.webp", "--output", "out")[0] == 0
    assert {path.name for path in (folder / "out").iterdir()} == {"a.bli", "b.bli"}
    assert run("decompress", "-o", "back.png", "a.bli")[0] == 0
    assert Image.open(folder / "back.png").size == (40, 30)


def test_quiet_shows_failures_alone(folder, run):
    (folder / "photos" / "broken.png").write_bytes(b"not a picture")
    code, _, errors = run("compress", "photos", "--quiet", "-o", "out")
    (line,) = errors.splitlines()
    assert code == 1 and "broken.png" in line


def test_version_and_help(run):
    assert run("--version")[1] == f"balle-li {balle_li.__version__}\n".encode()
    for arguments, shown in ((["-h"], b"decompress"), (["compress", "-h"], b"--output")):
        code, text, _ = run(*arguments)
        assert code == 0 and shown in text


def test_the_shell_can_complete(run, monkeypatch):
    monkeypatch.setenv("_BALLE_LI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "balle-li deco")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert b"decompress" in run()[1]
