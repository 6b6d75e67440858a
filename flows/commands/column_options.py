"""The options for column roles, shared by all commands that read a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from foretaste.dataset.roles import Request


def _column(help: str, *names: str, metavar: str = "COLUMN") -> Any:  # noqa: A002
    return typer.Option(*names, metavar=metavar, rich_help_panel="Columns", help=help)


Id = Annotated[str | None, _column("Names each row in the findings.", "--id")]
Label = Annotated[str | None, _column('The class of each row; "" for none.', "--label")]
Source = Annotated[str | None, _column("Where each row came from.", "--source")]
Image = Annotated[str | None, _column("The rows are pictures.", "--image")]
Text = Annotated[str | None, _column("The rows are texts.", "--text")]
Messages = Annotated[str | None, _column("The rows are conversations.", "--messages")]
Prompt = Annotated[str | None, _column("The rows are prompts …", "--prompt")]
Response = Annotated[str | None, _column("… and their responses.", "--response")]
Embedding = Annotated[str | None, _column("The rows are vectors.", "--embedding")]
Features = Annotated[str | None, _column("The rows are table features.", "--features", metavar="A,B,C")]


def request(  # noqa: PLR0917
    image: str | None,
    text: str | None,
    messages: str | None,
    prompt: str | None,
    response: str | None,
    embedding: str | None,
    features: str | None,
    label: str | None,
    id_: str | None,
    source: str | None,
) -> Request:
    """The values of these options as a Request."""
    from foretaste.dataset.roles import Request

    columns = tuple(name.strip() for name in features.split(",") if name.strip()) if features else ()
    return Request(image, text, messages, prompt, response, embedding, columns, label, id_, source)


def options(roles: Mapping[str, Any]) -> list[str]:
    """The options that name the payload and the label of an audit; `roles` is that part of its report.json."""
    payload, label = list(roles["payload"]), roles["label"] or ""
    if roles["modality"] == "pair":
        return ["--prompt", ",".join(payload[:-1]), "--response", payload[-1], "--label", label]
    return [f"--{roles['modality']}", ",".join(payload), "--label", label]
