"""Configurations of the commands: from a YAML file, overridden by options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prunella.core.budgets import Budget, Flops, Params
from prunella.core.errors import InputError
from prunella.files.atomic import read_text
from prunella.retrain import Recipe

C = TypeVar("C", bound=BaseModel)


class ModelConfig(BaseModel):
    """Which network, and where its weights are."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    network: str = Field(description="resnet20, torchvision:resnet18, or package.module:factory.")
    network_args: dict[str, Any] = Field(default_factory=dict, description="Keywords it takes.")


class DataConfig(BaseModel):
    """Which samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(description="fashion-mnist, mnist, cifar10, bundled, imagefolder:PATH, or "
                      "package.module:factory.")  # fmt: skip
    data_dir: Path | None = Field(None, description="Folder to look in first.")
    download: bool = Field(False, description="Fetch what is missing.")


class TrainConfig(ModelConfig, DataConfig):
    """Everything `prunella train` needs."""

    batch_size: int = Field(128, ge=1)
    recipe: Recipe = Recipe(epochs=20, learning_rate=0.1, shift=2, flip=True)
    seed: int = 0


class PruneConfig(ModelConfig, DataConfig):
    """Everything `prunella prune` needs."""

    weights: Path
    params: float | None = Field(None, description="Kept fraction of the parameters.")
    flops: float | None = Field(None, description="Kept fraction of the multiply-adds.")
    method: str = "pfp"
    multiple: int = Field(8, ge=1, description="Keep multiples of this many channels.")
    calibration_samples: int = Field(256, ge=1)
    retraining_samples: int = Field(10_000, ge=1)
    certification_samples: int = Field(2_000, ge=1)
    batch_size: int = Field(64, ge=1)
    recipe: Recipe = Recipe(epochs=5, learning_rate=0.02)
    latency_batches: tuple[int, ...] = (1, 64)
    alpha: float = 0.05
    delta: float = 0.01
    seed: int = 0

    @property
    def budget(self) -> Budget:
        """The one budget that was given.

        Raises:
            InputError: none, or both.
            BudgetError: it is not between 0 and 1.
        """
        if (self.params is None) == (self.flops is None):
            raise InputError(
                "give one budget: --params 0.4 keeps at most 40 % of the parameters, "
                "--flops 0.5 at most half of the multiply-adds."
            )
        return Params(self.params) if self.params is not None else Flops(self.flops or 0.0)


class CertifyConfig(ModelConfig, DataConfig):
    """Everything `prunella certify` needs."""

    weights: Path
    pruned: Path
    certification_samples: int = Field(2_000, ge=1)
    batch_size: int = Field(250, ge=1)
    alpha: float = 0.05
    delta: float = 0.01
    seed: int = 0


def resolve(kind: type[C], file: Path | None, options: Mapping[str, Any]) -> C:
    """A configuration from a YAML file, overridden by those options that were given.

    Args:
        kind: The class of the configuration.
        file: YAML with the class's fields; None for none.
        options: Field name to value; None means not given. A dotted name reaches into a field.

    Raises:
        InputError: a field is unknown, missing or of a wrong value; FileError: the file is missing.
    """
    data: dict[str, Any] = {}
    if file is not None:
        loaded = _yaml(file)
        data = dict(loaded)
    for name, value in options.items():
        if value is None:
            continue
        outer, _, inner = name.partition(".")
        if inner:
            default = kind.model_fields[outer].default
            base = default.model_dump() if isinstance(default, BaseModel) else {}
            data[outer] = {**base, **(data.get(outer) or {}), inner: value}
        else:
            data[outer] = value
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise InputError(_explain(error, file)) from None


def to_yaml(config: BaseModel) -> str:
    """The resolved configuration as YAML, in the form that `--config` reads."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _yaml(file: Path) -> Mapping[str, Any]:
    try:
        loaded = yaml.safe_load(read_text(file)) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not valid YAML ({error}).") from None
    if not isinstance(loaded, Mapping):
        raise InputError(f"{file}: expected fields with values, got {type(loaded).__name__}.")
    return loaded


def _explain(error: ValidationError, file: Path | None) -> str:
    source = f"{file}: " if file is not None else ""
    problems = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            problems.append(f"{name} is missing (option --{name.replace('_', '-')})")
        elif problem["type"] == "extra_forbidden":
            problems.append(f"{name} is no known field")
        else:
            problems.append(f"{name}: {problem['msg']}, got {problem['input']!r}")
    return f"{source}{'; '.join(problems)}."
