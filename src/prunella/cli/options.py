"""Options that several commands share, and the sections of the help they stand in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from prunella.cli.config import PruneConfig
from prunella.core.errors import InputError

NETWORK = "Network"
DATA = "Data"
SIZE = "How small"
TRAINING = "Training"
CERTIFICATE = "Certificate"
RUN = "Run"

_DATA_SETS = (
    "fashion-mnist, mnist, cifar10, bundled, imagefolder:PATH, or package.module:factory, which "
    'is called with "train" or "test" and returns a prunella.data.ImageSet, or a list or data set '
    "of samples (inputs, label)."
)


def option(
    section: str, metavar: str, text: str, *, default: object = None, name: str | None = None
) -> Any:
    """An option that takes a value; the default is that of the configuration, for the help.

    Its name is that of the parameter if none is given.
    """
    if default is not None:
        text = f"{text} [default: {default}]"
    names = () if name is None else (name,)
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=section)


def default_of(kind: type[BaseModel], name: str) -> Any:
    """The default of a field; a dotted name reaches into a field."""
    outer, _, inner = name.partition(".")
    value = kind.model_fields[outer].default
    return getattr(value, inner) if inner else value


def flag(section: str, name: str, text: str) -> Any:
    """An option that is given or not."""
    return typer.Option(name, help=text, rich_help_panel=section)


Network = Annotated[
    str | None,
    option(
        NETWORK,
        "NAME",
        "resnet20 or another of prunella.networks, torchvision:resnet18, timm:NAME, or "
        "package.module:factory (a function that returns a torch.nn.Module).",
    ),
]
Data = Annotated[str | None, option(DATA, "NAME", _DATA_SETS)]
DataDir = Annotated[
    Path | None, option(DATA, "FOLDER", "Look here first for the files of the data set.")
]
Download = Annotated[
    bool | None,
    typer.Option(
        "--download/--no-download",
        help="Fetch the data set if it is not on this machine.",
        rich_help_panel=DATA,
    ),
]
CertificationSamples = Annotated[
    int | None,
    option(
        CERTIFICATE,
        "N",
        "Test samples, used for nothing else; more of them give tighter bounds.",
        default=default_of(PruneConfig, "certification_samples"),
    ),
]
Alpha = Annotated[
    float | None,
    option(
        CERTIFICATE,
        "SHARE",
        "Share of new samples that may exceed the bound on the outputs.",
        default=default_of(PruneConfig, "alpha"),
    ),
]
Delta = Annotated[
    float | None,
    option(
        CERTIFICATE,
        "PROBABILITY",
        "Probability that a bound is wrong: 0.01 makes each one hold with confidence 99 %.",
        default=default_of(PruneConfig, "delta"),
    ),
]
PerClass = Annotated[
    bool,
    flag(
        CERTIFICATE,
        "--per-class",
        "Bound the disagreement for each class that the original names, all of them at once.",
    ),
]
PerLayer = Annotated[
    bool,
    flag(
        CERTIFICATE,
        "--per-layer",
        "Bound the error of each layer that reads cut channels, all of them at once.",
    ),
]
TopK = Annotated[int | None, option(CERTIFICATE, "K", "Bound the drop of top-K accuracy, too.")]
Seed = Annotated[
    int | None,
    option(
        RUN,
        "N",
        "For everything random; the same seed, the same result.",
        default=default_of(PruneConfig, "seed"),
    ),
]
Config = Annotated[
    Path | None,
    option(RUN, "FILE", "YAML file, like the config.yaml of a run; options override it."),
]
Out = Annotated[
    Path | None,
    option(RUN, "FOLDER", "For all files; new or empty.", default="a new folder in runs/"),
]
Resume = Annotated[
    bool, flag(RUN, "--resume", "Go on with the interrupted run in --out, if there is one.")
]
Quiet = Annotated[bool, flag(RUN, "--quiet", "Print nothing but the paths of the written files.")]


def refuse(given: Mapping[str, object], why: str) -> None:
    """Raise InputError where an option is given that has no place here.

    Args:
        given: Values by the options' names (or fields of the configuration); None is not given.
        why: What they are for, as the rest of a sentence.
    """
    for name, value in given.items():
        if value is not None:
            spelled = name.rpartition(".")[2].replace("_", "-")
            raise InputError(f"--{spelled} {value} {why}, or leave out --{spelled}.")
