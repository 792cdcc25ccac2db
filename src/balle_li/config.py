"""Every section of params.yaml, typed and checked; the messages say what a person can do.

Defaults stand in params.yaml alone: a section here has none.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    Strict,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from balle_li.errors import ConfigError, near
from balle_li.files import named_path
from balle_li.registry import CODECS, METRICS, SOURCES, ModelConfig, Registry, metric_named

HEADLINE_QUALITY = 50
"""The quality that stands for a variable-rate model: it asks for the lmbda of the training."""
ZOO, RELEASED = "zoo", "released"
"""In `train.init_from`: the weights that the model's authors published, and those that ship with this package."""
TEST_SET = "test"
"""The name of the test split among the sets of pictures."""
SPLITS = ("train", "validation", "test")

ScheduleName = Literal["one-cycle", "step", "constant"]
OptimizerName = Literal["soap", "adam"]
Tune = Literal["psnr", "ms-ssim"]
Device = Literal["auto", "cpu", "gpu"]

Section = TypeVar("Section")


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as a string."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def as_name(value: Any) -> Any:
    """The text of a name that YAML reads as a number; anything else as it is."""
    return str(value) if isinstance(value, int | float) else value


def _named(registry: Registry) -> AfterValidator:
    def check(name: str) -> str:
        registry.check(name)
        return name

    return AfterValidator(check)


Flag = Annotated[bool, Strict()]
Int = Annotated[int, Strict()]
Count = Annotated[Int, Field(ge=1)]
Float = Annotated[float, Strict(), BeforeValidator(_number)]
Positive = Annotated[Float, Field(gt=0)]
NotNegative = Annotated[Float, Field(ge=0)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
Name = Annotated[str, BeforeValidator(as_name)]

_KNOWN_ONLY = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_KNOWN_ONLY)
class DirectoryConfig:
    """The user's own folders of pictures."""

    paths: list[str]  # folders; relative ones start from the project
    labels: Literal["auto", "none", "coco", "yolo", "voc", "open-images"]  # the layout of the labels


@dataclass(frozen=True, config=_KNOWN_ONLY)
class OpenImagesConfig:
    """A selection of Open Images V7."""

    splits: list[Literal["train", "validation", "test"]]
    classes: list[str]  # names of boxable classes
    include_children: Flag  # also the classes below these in the Open Images hierarchy
    max_samples: Count  # pictures, in all splits together
    licences: list[str]  # licence URLs to accept; empty: any
    workers: Count  # parallel downloads

    def __post_init__(self) -> None:
        _require(bool(self.splits), "splits names no split: give train, validation or test")
        _require(len(set(self.splits)) == len(self.splits), "splits names a split twice")


@dataclass(frozen=True, config=_KNOWN_ONLY)
class DatasetConfig:
    """Where pictures come from."""

    source: Annotated[str, _named(SOURCES)]
    max_missing: Fraction  # of the chosen pictures
    directory: DirectoryConfig
    open_images: OpenImagesConfig
    others: dict[str, dict[str, Any]]  # the sections of other packages' sources; checked when the source is built

    @model_validator(mode="before")
    @classmethod
    def _gather_others(cls, section: Any) -> Any:
        if not isinstance(section, Mapping):
            return section
        others = {name.replace("-", "_") for name in SOURCES.names()} - {"directory", "open_images"}
        return {
            **{key: value for key, value in section.items() if key not in others},
            "others": {key: value for key, value in section.items() if key in others},
        }

    def __post_init__(self) -> None:
        if self.source == "directory":
            _require(bool(self.directory.paths), "directory.paths is empty: name the folders that hold your pictures")


@dataclass(frozen=True, config=_KNOWN_ONLY)
class CurationConfig:
    """Which pictures and boxes are worth training on and measuring with."""

    classes: list[str]  # keep only boxes of these classes, and pictures that have one; empty: all
    min_side: Count  # pixels of a picture's shorter side
    min_box_area: Annotated[Float, Field(ge=0, lt=1)]  # fraction of the picture
    keep_group_of: Flag  # keep boxes around a group of objects
    keep_depictions: Flag  # keep boxes around drawings and statues of objects
    min_jpeg_quality: Annotated[Int, Field(ge=0, le=100)]  # estimated quality of a JPEG picture; 0 keeps all
    # Bits of a 64-bit perceptual hash; -1 turns the search off. Beyond 10, different photographs collide.
    near_duplicate_bits: Annotated[Int, Field(ge=-1, le=10)]
    max_per_class: Annotated[Int, Field(ge=0)]  # pictures; 0: no limit
    split: dict[str, Positive]  # fraction of the pictures for each of SPLITS

    def __post_init__(self) -> None:
        _require(sorted(self.split) == sorted(SPLITS), f"split must give a fraction to each of {', '.join(SPLITS)}")
        total = sum(self.split.values())
        _require(math.isclose(total, 1, abs_tol=1e-6), f"split: the fractions add up to {total:g}, not 1")


@dataclass(frozen=True, config=_KNOWN_ONLY)
class PatchConfig:
    """How patches are cut from the curated pictures."""

    size: Annotated[Int, Field(ge=16)]  # side of the square patches, in pixels
    per_megapixel: Positive  # patches per megapixel of the picture they are cut from, at least one per picture
    object_fraction: Fraction  # of the patches that are placed around a labelled object
    max_megapixels: Positive  # larger pictures are scaled down to this first
    shard_mib: Int  # upper bound of a shard's size

    def __post_init__(self) -> None:
        _require(self.shard_capacity >= 1, f"shard_mib is {self.shard_mib}, less than one patch of size {self.size}")

    @property
    def shard_capacity(self) -> int:
        """The number of patches in a full shard."""
        return self.shard_mib * 2**20 // (self.size * self.size * 3)


@dataclass(frozen=True, config=_KNOWN_ONLY)
class ComputeConfig:
    """Where work that many processes can share is done."""

    scheduler: str | None  # address of a Dask scheduler, such as tcp://10.0.0.1:8786; None: processes of this machine
    workers: Count  # processes of the local pool

    def __post_init__(self) -> None:
        is_address = self.scheduler is None or "://" in self.scheduler
        _require(is_address, f"scheduler is {self.scheduler!r}, not an address such as tcp://host:8786")


@dataclass(frozen=True, config=_KNOWN_ONLY)
class TrainConfig:
    """How a model is trained."""

    steps: Count
    batch_size: Count  # of all processes together
    crop: Annotated[Int, Field(ge=16)]  # side of the square cut from each patch at every step
    smooth_fraction: Fraction  # of the crops that are a small part of a patch, enlarged: blurred and flat pictures
    optimizer: OptimizerName
    lr: Annotated[Float, Field(gt=0, lt=1)]  # the learning rate at its highest; the transforms take a quarter of it
    lr_from_weights: Annotated[Float, Field(gt=0, lt=1)]  # in its place when the training starts from weights
    schedule: ScheduleName
    warmup: Annotated[Float, Field(ge=0, lt=1)]  # fraction of the steps in which the learning rate rises
    clip: NotNegative  # largest norm of the gradient; 0 turns clipping off
    lmbda_box: NotNegative  # weight of the squared error inside boxes, added to the cost
    tune: Tune  # what the loss measures: squared errors alone, or the MS-SSIM loss first
    ms_ssim_weight: Positive  # of the MS-SSIM loss where `tune` asks for it, in units of lmbda
    device: Device
    precision: Literal["auto", "fp32", "bf16"]
    compile: Flag  # let torch.compile fuse the model and its loss
    checkpoint_minutes: Positive
    validate_every: Count  # steps
    patience: Annotated[Int, Field(ge=0)]  # validations in a row that are no better; 0 never stops early
    # Of the steps from scratch, in which a variable-rate decoder gets the additive-noise proxy.
    noise_fraction: Fraction
    init_from: str | None  # a model folder, or its training weights, to start from; or ZOO

    @property
    def noise_steps(self) -> int:
        """The first so many steps use the additive-noise proxy; none where training starts from weights, which know rounding."""
        return int(self.noise_fraction * self.steps) if self.init_from is None else 0

    @property
    def loss_ms_ssim_weight(self) -> float:
        """The weight of the MS-SSIM loss in this training, 0 for none."""
        return self.ms_ssim_weight if self.tune == "ms-ssim" else 0.0

    @property
    def highest_lr(self) -> float:
        """The highest learning rate of this training."""
        return self.lr if self.init_from is None else self.lr_from_weights


@dataclass(frozen=True, config=_KNOWN_ONLY)
class EvaluationConfig:
    """What is measured."""

    metrics: list[Annotated[str, _named(METRICS)]]  # by which decoded pictures are compared with their originals
    # Of variable-rate models; HEADLINE_QUALITY is always measured.
    qualities: list[Annotated[Float, Field(ge=0, le=100)]]
    jpeg_qualities: list[Annotated[Int, Field(ge=1, le=95)]]  # the paper's 8, 16 and 32 are always measured
    codecs: list[Annotated[str, _named(CODECS)]]  # classical codecs to measure beside JPEG
    baselines: list[Name]  # other models to measure on the same pictures: RELEASED, model folders, models:/name@alias
    extra_sets: dict[Name, str]  # folders of pictures to measure beside the test split, by their names in the report
    device: Device  # where the model's transforms run
    pictures_on_page: Count  # rows of pictures.png at most

    def __post_init__(self) -> None:
        _require(bool(self.metrics), "metrics names none: psnr is one")
        for name in self.extra_sets:
            plain = name.replace("-", "").replace("_", "").isalnum()
            _require(plain and name != TEST_SET, f"extra_sets: {name!r} must be letters, digits, - and _, and not test")

    @property
    def all_qualities(self) -> list[float]:
        """The configured qualities and HEADLINE_QUALITY; ascending."""
        return sorted({*self.qualities, HEADLINE_QUALITY})

    @property
    def all_jpeg_qualities(self) -> list[int]:
        """The configured qualities and those of Graham & Decoto (2019): 8, 16, 32; ascending."""
        return sorted({*self.jpeg_qualities, 8, 16, 32})


@dataclass(frozen=True, config=_KNOWN_ONLY)
class RegisterConfig:
    """How a version is registered and promoted. A limit that is None does not limit."""

    name: str  # the registered model's name in MLflow
    metric: str  # a registered metric, or the column of its curve, ms_ssim_db: the quality by which curves are compared
    max_encode_ms: Positive | None  # mean of the test pictures
    max_decode_ms: Positive | None
    max_megabytes: Positive | None  # of the codec's files
    # What a version must save to take an alias, a fraction of the bits or of the cost.
    min_gain: Annotated[Float, Field(ge=0, lt=1)]

    def __post_init__(self) -> None:
        plain = self.name.strip() and not self.name.startswith(".") and not set(self.name) & set("/:?'\"")
        _require(bool(plain), f"name is {self.name!r}: give a name without / : ? ' and \", and no dot at its start")
        metric_named(self.metric)  # which raises where there is none


@dataclass(frozen=True, config=_KNOWN_ONLY)
class CompareConfig:
    """Which runs are compared."""

    experiment: str  # of MLflow
    runs: list[str]  # ids or names, or starts of them; empty: every finished run that has an evaluation
    kind: Literal["any", "mse", "ms-ssim"]  # of what their losses measure
    filter: str  # MLflow's search filter on top, such as tags.sweep = 'first'; empty: none


@dataclass(frozen=True, config=_KNOWN_ONLY)
class Parameters:
    """The whole file: every section, and the parameters that several stages share."""

    seed: Annotated[Int, Field(ge=0, lt=2**63)]
    lmbda: Positive  # J = lmbda * 255^2 * MSE + bpp
    class_weights: dict[Name, Annotated[Float, Field(ge=0, le=1e6)]]  # how much a box of a class counts
    dataset: DatasetConfig
    curate: CurationConfig
    patches: PatchConfig
    compute: ComputeConfig
    model: Annotated[InstanceOf[ModelConfig], BeforeValidator(ModelConfig.of)]
    train: TrainConfig
    evaluate: EvaluationConfig
    register: RegisterConfig
    compare: CompareConfig

    def __post_init__(self) -> None:
        crop, size = self.train.crop, self.patches.size
        _require(crop <= size, f"train.crop is {crop}, but patches.size is only {size}")
        measured = self.evaluate.metrics
        _require(
            metric_named(self.register.metric) in measured,
            f"register.metric is {self.register.metric}, but evaluate.metrics has only {', '.join(measured)}",
        )
        for name, path in self.evaluate.extra_sets.items():
            _require(
                named_path(path).is_dir(),
                f"evaluate.extra_sets.{name}: {path} is not a folder; correct it, or take it out",
            )
        taken = {self.model.name, "jpeg", *self.evaluate.codecs}
        for place in self.evaluate.baselines:
            known = place == RELEASED or is_registered(place) or (named_path(place) / "model.json").is_file()
            _require(
                known,
                f"evaluate.baselines: {place} is no model folder, without a model.json; correct it, or take it out",
            )
            _require(
                place not in taken,
                f"evaluate.baselines: {place} is another curve's name; write the folder as ./{place}",
            )


def is_registered(place: str) -> bool:
    """Whether it names a model in MLflow's registry, such as models:/balle-li@champion."""
    return place.startswith("models:/")


def read(section: type[Section], values: Mapping[str, Any], where: str) -> Section:
    """The `section` that `values`, as params.yaml has them, describe. where: its name in params.yaml; "" is the whole file.

    Raises ConfigError: a parameter is unknown, missing, of the wrong type or out of range. The first one is named.
    """
    try:
        return TypeAdapter(section).validate_python(values)
    except ValidationError as error:
        raise ConfigError(f"params.yaml: {_message(section, error.errors()[0], where)}") from None
    except ConfigError as error:  # of the registries, which name the parameter
        raise ConfigError(f"params.yaml: {error}") from None


def _require(condition: bool, message: str) -> None:
    """message: starts with the parameter's name within its section."""
    if not condition:
        raise ValueError(message)


_TYPES = {
    "int_type": "of type int", "float_type": "of type float", "string_type": "of type str", "bool_type": "of type bool",
    "list_type": "a list", "dict_type": "a mapping", "dataclass_type": "a mapping",
}  # fmt: skip
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"), "greater_than": ("gt", "above"),
    "less_than_equal": ("le", "at most"), "less_than": ("lt", "below"),
}  # fmt: skip


def _message(section: type, failure: Mapping[str, Any], where: str) -> str:
    """What one of pydantic's failures says, in our words."""
    kind, value = failure["type"], failure["input"]
    path = [part for part in failure["loc"] if part != "[key]"]
    name = _joined([where, *path] if where else path) or "it"
    if kind == "value_error":
        return f"{name}.{failure['ctx']['error']}".removeprefix("it.")
    if kind == "unexpected_keyword_argument":
        known = list(_section_at(section, path[:-1]).__dataclass_fields__)
        return f"{name} is unknown: " + (near(path[-1], known).rstrip() or f"known are {', '.join(known)}")
    if kind == "missing":
        return f"{name} is missing"
    if kind == "literal_error":
        return f"{name} is {value!r}, must be one of {failure['ctx']['expected'].replace(chr(39), '').replace(' or ', ', ')}"
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        given = value if isinstance(value, int) else f"{float(value):g}"  # text, from YAML 1.1
        return f"{name} is {given}, must be {words} {failure['ctx'][key]:g}"
    if kind in _TYPES:
        return f"{name} must be {_TYPES[kind]}, not {value!r}"
    return f"{name} is {value!r}: {failure['msg']}"


def _joined(path: list[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _section_at(section: type, path: list[Any]) -> Any:
    for part in path:
        section = get_type_hints(section)[part]
    return section
