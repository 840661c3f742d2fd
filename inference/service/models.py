"""What comes in and what goes out, as JSON."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Classify(BaseModel):
    """One text, or several."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "I was charged twice"}]})

    text: str | None = Field(None, description="one text; with it an `id` may be given")
    texts: list[str] | None = Field(None, min_length=1, description="several texts, answered in order")
    id: Id | None = Field(None, description="a name of your own for the request, for /feedback and in the log")

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either `text` or `texts`")
        if self.texts is not None and self.id is not None:
            raise ValueError("`id` names one request: give it with `text`, not with `texts`")
        return self


class Answered(BaseModel):
    """The answer to one text."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="the request's id, for /feedback")
    intent: str | None = Field(description="null where nothing at all could answer")
    confidence: float | None = Field(description="from 0 to 1; null from a teacher or a person")
    accepted: bool = Field(description="false for a fallback: a guess that nothing certifies")
    source: str = Field(description="rules, exit, student, teacher, human or fallback")
    cached: bool
    deferred: bool = Field(description="given to the teachers")
    cost_usd: float
    latency_ms: float
    bundle_id: str | None
    reason: str | None = Field(description="why it is a fallback")


class AnsweredAll(BaseModel):
    """The answers to several texts, in their order."""

    answers: list[Answered]


class Feedback(BaseModel):
    """A person's correction."""

    model_config = ConfigDict(extra="forbid")

    id: Id = Field(description="the `id` of the answer that was wrong")
    intent: str = Field(description="the intent that is right")
    text: str | None = Field(
        None, description="the text: needed after 10,000 more requests, or where several workers serve"
    )


class Ready(BaseModel):
    """Whether requests can be answered, and why not."""

    ready: bool
    why: str = ""


class Version(BaseModel):
    """What is served."""

    version: str = Field(description="of Monoku")
    bundle_id: str | None = Field(description="null before there is a bundle")
    intents: list[str]


class Problem(BaseModel):
    """Why a request was not answered. No text of the request is repeated."""

    error: str = Field(description="one word for a program")
    message: str = Field(description="a sentence for a person")
    request_id: str
