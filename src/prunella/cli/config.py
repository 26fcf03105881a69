"""Configurations of the commands: from a YAML file, overridden by options."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from prunella.cli.yamltext import read_yaml
from prunella.core.budgets import Budget, Bytes, Flops, Latency, Params
from prunella.core.errors import InputError
from prunella.core.levels import level
from prunella.core.walks import Risk
from prunella.core.words import one_line, shown
from prunella.files.atomic import read_text
from prunella.retrain import Recipe
from prunella.tasks import RECIPE, Architecture

C = TypeVar("C", bound=BaseModel)
_MOST_PROBLEMS = 6  # in one message

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Probability = Annotated[float, Field(gt=0, lt=1)]


def _level(value: object) -> object:
    if value is None:
        return None
    try:
        # As text, because a bare 0.5 in a file means half a per cent as often as on a command line.
        return level("it", f"{value}")
    except InputError:
        raise PydanticCustomError(
            "level", "should be a share with its sign, such as 0.5%, or a small one, such as 0.005"
        ) from None


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.12g}%"


Level = Annotated[float | None, BeforeValidator(_level), PlainSerializer(_percent)]
_UNITS: dict[str, type[Budget]] = {"params": Params, "flops": Flops, "bytes": Bytes}


class ModelConfig(BaseModel):
    """Which network, and where its weights are."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    network: str = Field(description="resnet20, torchvision:resnet18, or package.module:factory")
    network_args: dict[str, Any] = Field(default_factory=dict, description="keywords it takes")


class DataConfig(BaseModel):
    """Which samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(
        description="fashion-mnist, mnist, cifar10, bundled, imagefolder:PATH or "
        "package.module:factory"
    )
    data_dir: Path | None = Field(None, description="folder to look in first")
    download: bool = Field(False, description="fetch what is missing")


class TrainConfig(ModelConfig, DataConfig):
    """Everything `prunella train` needs."""

    batch_size: Count = 128
    recipe: Recipe = Recipe(epochs=20, learning_rate=0.1, shift=2, flip=True)
    seed: Seed = 0

    @classmethod
    def other_defaults(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Defaults that depend on what is given: a digit in the mirror is none."""
        recipe: Recipe = cls.model_fields["recipe"].default
        digits = given.get("data") == "mnist"
        return {"recipe": recipe.model_copy(update={"flip": False})} if digits else {}


class TaskConfig(BaseModel):
    """Everything `prunella train --task` needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(description="maze10, or another task of sequences")
    architecture: Architecture = Architecture()
    data_dir: Path | None = Field(None, description="folder to look in for the task's files")
    sequences: Count | None = Field(None, description="sequences to learn from; null for all")
    steps: Count | None = Field(None, description="steps of a sequence; null for all")
    batch_size: Count = 128
    recipe: Recipe = RECIPE
    seed: Seed = 0


class PruneConfig(ModelConfig, DataConfig):
    """Everything `prunella prune` needs."""

    alternatives: ClassVar[tuple[str, ...]] = (
        "params", "flops", "bytes", "latency", "max_drop", "max_disagreement",
    )  # fmt: skip

    weights: Path = Field(description="weights of the trained network")
    params: Probability | None = Field(None, description="0.4 keeps at most 40 % of the parameters")
    flops: Probability | None = Field(
        None, description="0.4 keeps at most 40 % of the multiply-adds"
    )
    bytes: Probability | None = Field(None, description="0.4 keeps at most 40 % of the bytes")
    latency: Probability | None = Field(
        None, description="0.6 runs in at most 60 % of the time, measured on this device"
    )
    latency_batch: Count = Field(1, description="samples run at once while that is measured")
    max_drop: Level = Field(None, description="0.5%: the smallest network that loses no more")
    max_disagreement: Level = Field(
        None, description="2%: the smallest network that answers no more samples differently"
    )
    smallest_in: Literal["params", "flops", "bytes"] = Field(
        "params", description="what that network has least of"
    )
    selection_samples: int = Field(
        5_000, ge=0, description="training samples that guess where its search begins"
    )
    include: tuple[str, ...] = Field((), description="prune channels of these modules only")
    exclude: tuple[str, ...] = Field((), description="modules whose channels all stay")
    equal_layers: bool = Field(False, description="layers alike keep equal numbers of channels")
    through_norms: bool = Field(False, description="remove channels that a layer norm mixes, too")
    method: str = "pfp"
    multiple: Count = Field(8, description="keep multiples of this many channels")
    calibration_samples: Count = 256
    retraining_samples: Count = 10_000
    certification_samples: Count = 2_000
    batch_size: Count = 64
    recipe: Recipe = Recipe(epochs=5, learning_rate=0.01)
    latency_batches: tuple[Count, ...] = (1, 64)
    robustness_samples: int = Field(
        500, ge=0, description="test images that are compared with corruptions, too"
    )
    alpha: Probability = Field(0.05, description="share of samples that may exceed the bound")
    delta: Probability = Field(0.01, description="probability that a bound is wrong")
    per_class: bool = Field(False, description="bound the disagreement of each class, too")
    per_layer: bool = Field(False, description="bound the error of each layer, too")
    top_k: Count | None = Field(None, description="bound the drop of top-k accuracy, too")
    seed: Seed = 0

    @classmethod
    def other_defaults(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Defaults that depend on what is given: in a search each candidate costs them anew."""
        searching = any(given.get(name) is not None for name in ("max_drop", "max_disagreement"))
        none = Recipe(epochs=0, learning_rate=0.01)
        return {"recipe": none, "retraining_samples": 2_000} if searching else {}

    @property
    def tolerance(self) -> tuple[Risk, float] | None:
        """The tolerated risk and its level, where the smallest network is asked for.

        Raises:
            InputError: see `budget`.
        """
        name, value = self._asked()
        risks: dict[str, Risk] = {"max_drop": "accuracy_drop", "max_disagreement": "disagreement"}
        return (risks[name], value) if name in risks else None

    @property
    def unit(self) -> type[Budget]:
        """What the smallest network has least of."""
        return _UNITS[self.smallest_in]

    @property
    def budget(self) -> Budget | Latency:
        """The one budget that was given.

        Raises:
            InputError: none, or several.
        """
        name, value = self._asked()
        if name == "latency":
            return Latency(value, batch=self.latency_batch)
        return _UNITS[name](value)

    def _asked(self) -> tuple[str, float]:
        """The one alternative that was given, by its name."""
        given = {name: getattr(self, name) for name in self.alternatives}
        chosen = [name for name, fraction in given.items() if fraction is not None]
        if len(chosen) > 1:
            words = " and ".join(f"--{name.replace('_', '-')} {given[name]:g}" for name in chosen)
            raise InputError(f"got {len(chosen)} budgets, {words}; give one of them.")
        if not chosen:
            raise InputError(
                "got no budget; give --params 0.4 to keep at most 40 % of the parameters, --flops "
                "0.5 to keep at most half of the multiply-adds, or --bytes or --latency; or "
                "--max-drop 0.5% for the smallest network that loses no more accuracy."
            )
        (name,) = chosen
        return name, given[name]


class CertifyConfig(ModelConfig, DataConfig):
    """Everything `prunella certify` needs."""

    weights: Path = Field(description="weights of the original network")
    pruned: Path = Field(description="the small network, pruned.safetensors of a run")
    certification_samples: Count = 2_000
    batch_size: Count = 250
    alpha: Probability = Field(0.05, description="share of samples that may exceed the bound")
    delta: Probability = Field(0.01, description="probability that a bound is wrong")
    per_class: bool = Field(False, description="bound the disagreement of each class, too")
    per_layer: bool = Field(False, description="bound the error of each layer, too")
    top_k: Count | None = Field(None, description="bound the drop of top-k accuracy, too")
    seed: Seed = 0


class VerifyConfig(ModelConfig, DataConfig):
    """Everything `prunella verify` needs besides the certificate."""

    weights: Path = Field(description="weights of the original network")
    pruned: Path = Field(description="the small network, pruned.safetensors of a run")
    certification_samples: Count | None = Field(None, description="as many as were drawn")
    batch_size: Count = 250
    seed: Seed = Field(0, description="that of the certificate, which chooses the samples")


class ExportConfig(ModelConfig, DataConfig):
    """Everything `prunella export` needs besides the small network."""

    weights: Path | None = Field(None, description="weights of the original network")
    format: Literal["onnx", "pt2", "both"] = "both"
    latency_batches: tuple[Count, ...] = (1, 64)


def resolve(kind: type[C], file: Path | None, options: Mapping[str, Any]) -> C:
    """A configuration from a YAML file, overridden by those options that were given.

    A field that is itself a configuration, such as the recipe, may be given in part: the rest of
    it comes from the default of the class. Of the fields that the class names as alternatives
    those in the file give way to one given as an option.

    Args:
        kind: The class of the configuration.
        file: YAML with the class's fields; None for none.
        options: Field name to value; None means not given. A dotted name reaches into a field.

    Raises:
        InputError: a field is unknown, missing or of a wrong value; FileError: the file is missing.
    """
    given = {name: value for name, value in options.items() if value is not None}
    data = {} if file is None else dict(_yaml(file))
    alternatives = getattr(kind, "alternatives", ())
    if any(name in given for name in alternatives):
        data = {name: value for name, value in data.items() if name not in alternatives}
    other: Mapping[str, Any] = {}
    if issubclass(kind, (TrainConfig, PruneConfig)):
        other = kind.other_defaults({**data, **given})
    for name, field in kind.model_fields.items():
        default = other.get(name, field.default)
        if isinstance(default, BaseModel) and isinstance(data.get(name, {}), Mapping):
            data[name] = {**default.model_dump(), **data.get(name, {})}
        elif name in other:
            data.setdefault(name, default)
    for name, value in given.items():
        outer, _, inner = name.partition(".")
        if not inner:
            data[outer] = value
        elif isinstance(data[outer], dict):  # else the validation below says what is wrong
            data[outer][inner] = value
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise InputError(_explain(error, kind, file, given)) from None


def names_field(file: Path | None, name: str) -> bool:
    """Whether a YAML file gives a field.

    Raises:
        InputError: it is no YAML with fields; FileError: it is missing.
    """
    return file is not None and name in _yaml(file)


def to_yaml(config: BaseModel) -> str:
    """The resolved configuration as YAML, in the form that `--config` reads."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _yaml(file: Path) -> Mapping[str, Any]:
    text = read_text(file)
    try:
        loaded = read_yaml(text)
    except ValueError as error:
        raise InputError(f"--config {file}: not valid YAML ({error}).") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, Mapping):
        raise InputError(
            f"--config {file}: expected fields with values, such as 'network: resnet20', got "
            f"{type(loaded).__name__}."
        )
    return loaded


def _explain(
    error: ValidationError, kind: type[BaseModel], file: Path | None, given: Mapping[str, Any]
) -> str:
    """All that is wrong with a configuration, in the names that the user gave."""
    missing, problems = [], []
    unknown = 0
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        field = one_line(".".join(path))
        name = f"--{path[-1].replace('_', '-')}" if field in given else f"{file}: {field}"
        if problem["type"] == "missing":
            missing.append(f"--{field.replace('_', '-')}")
        elif problem["type"] == "extra_forbidden":
            problems.append(f"{name} is no known field{_nearest(path, kind, unknown)}")
            unknown += 1
        else:
            wrong = one_line(problem["msg"]).replace("Input should", "should", 1)
            known = kind.model_fields.get(field)
            hint = f" ({known.description})" if known and known.description else ""
            problems.append(f"{name} {wrong}, got {shown(problem['input'])}{hint}")
    if len(problems) > _MOST_PROBLEMS:
        more = len(problems) - _MOST_PROBLEMS
        problems[_MOST_PROBLEMS:] = [f"and {more} more"]
    if missing:
        where = " or in the file" if file is not None else " or in a file given by --config"
        problems.append(f"give {', '.join(missing)} as options{where}")
    return f"{'; '.join(problems)}."


def _nearest(path: list[str], kind: type[BaseModel], already: int) -> str:
    """A field of a similar name, or all of them, which is said once."""
    fields = list(kind.model_fields)
    if len(path) > 1:
        inner = kind.model_fields[path[0]].annotation
        fields = list(getattr(inner, "model_fields", {}))
    close = difflib.get_close_matches(path[-1], fields, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]}?)"
    return "" if already else f" (there are: {', '.join(fields)})"
