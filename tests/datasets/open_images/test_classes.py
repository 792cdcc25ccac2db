"""Class names, their children, and what is said of names that do not exist."""

from pathlib import Path

import pytest

from balle_li.datasets.open_images import classes, endpoints
from balle_li.datasets.open_images.classes import Classes
from balle_li.errors import ConfigError, DatasetError


@pytest.fixture
def known(shared: Path) -> Classes:
    root = shared / "labelled-photos" / "metadata"
    paths = (root / path.removeprefix("openimages/") for path in (endpoints.CLASSES, endpoints.HIERARCHY))
    return classes.read(*paths)


def test_names_become_mids(known: Classes) -> None:
    assert len(known.names) == 601
    assert known.mids(["Dog", "Cat"], include_children=False) == ["/m/01yrx", "/m/0bt9lr"]


def test_children_are_what_a_class_is_and_not_its_parts(known: Classes) -> None:
    names = {known.names[mid] for mid in known.mids(["Person"], include_children=True)}
    assert {"Person", "Man", "Woman", "Boy", "Girl"} <= names
    assert names.isdisjoint({"Human face", "Human hand", "Clothing"})


def test_grandchildren_are_included(known: Classes) -> None:
    names = {known.names[mid] for mid in known.mids(["Animal"], include_children=True)}
    assert {"Animal", "Mammal", "Carnivore", "Dog"} <= names


def test_children_are_found_wherever_a_class_stands() -> None:
    tree = {
        "LabelName": "/root",
        "Subcategory": [{"LabelName": "/b", "Subcategory": [{"LabelName": "/c"}]}],
        "Part": [{"LabelName": "/a", "Subcategory": [{"LabelName": "/b"}]}],
    }
    known = Classes({"/a": "A", "/b": "B", "/c": "C"}, tree)
    assert known.mids(["A"], include_children=True) == ["/a", "/b", "/c"]


def test_unknown_names_give_one_line_with_the_nearest(known: Classes) -> None:
    with pytest.raises(
        ConfigError, match=r"'human face' is not a boxable class .* did you mean 'Human face'"
    ) as failure:
        known.mids(["Dog", "human face", "qqqqqq"], include_children=True)
    assert "'qqqqqq'" in str(failure.value) and "\n" not in str(failure.value)


def test_the_hierarchy_is_given_names(known: Classes) -> None:
    assert known.named_hierarchy()["LabelName"] == "Entity"


@pytest.mark.parametrize("damaged", ["classes", "hierarchy"])
def test_damaged_files_are_removed_so_that_they_are_fetched_again(tmp_path: Path, damaged: str) -> None:
    files = {"classes": tmp_path / "classes.csv", "hierarchy": tmp_path / "hierarchy.json"}
    files["classes"].write_text("/m/1,Dog")
    files["hierarchy"].write_text('{"LabelName": "/m/1"}')
    assert classes.read(files["classes"], files["hierarchy"]).names == {"/m/1": "Dog"}
    files[damaged].write_text("<html>")
    with pytest.raises(DatasetError, match="has been removed; run the same command again"):
        classes.read(files["classes"], files["hierarchy"])
    assert not files[damaged].exists()
