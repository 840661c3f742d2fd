"""The application: what is answered at which path. The cascade is used through its public methods alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.routing import Route

from inference.service.crew import Crew
from inference.service.door import FAILED, Door, Refusal
from inference.service.figures import Figures, figures
from inference.service.metrics import Collector, exposition
from inference.service.models import Answered, AnsweredAll, Classify, Feedback, Problem, Ready, Version
from inference.service.page.api import reference
from inference.service.page.routes import Pages
from inference.service.session import DOCS, Sessions
from inference.service.settings import Settings

if TYPE_CHECKING:
    from inference.cascade import Cascade

RELEASE = metadata.version("monoku")
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": what}
    for code, what in {
        401: "the token is missing or wrong",
        408: "the body came too slowly",
        413: "the body is too large",
        415: "the body is not JSON",
        422: "the request is invalid",
    }.items()
}


class Service:
    """A cascade behind the paths."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cascade: Cascade | None = None
        self._crew: Crew | None = None
        self._collector: Collector | None = None

    @property
    def cascade(self) -> Cascade:
        """The cascade, from the start of the service to its end."""
        assert self._cascade is not None, "the service has not started"
        return self._cascade

    @contextlib.asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Load the cascade, and in the end wait for calls under way and write what waits."""
        async with await asyncio.to_thread(self._settings.open) as self._cascade:
            if self._settings.folder is not None:
                self._crew = Crew(self._settings.folder, self._own)
                self._crew.start()
            self._collector = Collector(self._cascade, self._crew.figures if self._crew else None)
            try:
                yield
            finally:
                if self._crew is not None:
                    await asyncio.to_thread(self._crew.stop)

    def _own(self) -> Figures:
        return figures(self.cascade.stats())

    async def classify(self, asked: Classify) -> Answered | AnsweredAll:
        """Classify one text, or several. Those that are deferred wait for their teachers together."""
        if asked.text is not None:
            return Answered.model_validate(await self.cascade.aclassify(asked.text, asked.id))
        texts, most = asked.texts or [], self._settings.limits.texts
        if len(texts) > most:
            raise Refusal(422, "too_many", f"{len(texts)} texts were given, at most {most} are taken at once")
        answers = await asyncio.gather(*(self.cascade.aclassify(text) for text in texts))
        return AnsweredAll(answers=[Answered.model_validate(answer) for answer in answers])

    def feedback(self, given: Feedback) -> Response:
        """Record a person's correction. Let only those call it whose word may stand for everybody."""
        if self.cascade.log is None:
            raise Refusal(409, "no_log", "feedback needs a decision log, and this service has none")
        try:
            self.cascade.feedback(given.id, given.intent, given.text)
        except KeyError:
            text = "this worker does not remember the request: give its `text` too"
            raise Refusal(404, "not_remembered", text) from None
        except ValueError:
            names = ", ".join(self.cascade.taxonomy.names)
            raise Refusal(422, "no_intent", f"`intent` must be one of {names}") from None
        return Response(status_code=204)

    def healthz(self) -> dict[str, str]:
        """Whether the process lives."""
        return {"status": "alive"}

    def readyz(self, response: Response) -> Ready:
        """Whether requests can be answered: by a bundle, or by a teacher whose breaker is not open."""
        stats = self.cascade.stats()
        if stats["bundle_id"] is None and "open" in (states := set(stats["breakers"].values())) and len(states) == 1:
            response.status_code = 503
            return Ready(ready=False, why="there is no bundle yet, and no teacher answers")
        return Ready(ready=True)

    def version(self) -> Version:
        """What is served."""
        bundle_id = self.cascade.stats()["bundle_id"]
        return Version(version=RELEASE, bundle_id=bundle_id, intents=list(self.cascade.taxonomy.names))

    def metrics(self) -> Response:
        """Figures of all workers, for Prometheus."""
        assert self._collector is not None, "the service has not started"
        return Response(exposition(self._collector), media_type=CONTENT_TYPE_LATEST)


def create(settings: Settings) -> Door:
    """The ASGI application. It loads the cascade when it starts, and closes it when it ends."""
    service = Service(settings)
    api = FastAPI(
        title="Monoku", version=RELEASE, lifespan=service.lifespan, docs_url=None, redoc_url=None, responses=_PROBLEMS
    )
    api.add_api_route("/classify", service.classify, methods=["POST"], response_model=Answered | AnsweredAll)
    api.add_api_route("/feedback", service.feedback, methods=["POST"], status_code=204, response_class=Response)
    api.add_api_route("/healthz", service.healthz)
    api.add_api_route("/readyz", service.readyz, response_model=Ready)
    for path, answer in (("/healthz", service.healthz), ("/readyz", service.readyz)):  # some probes ask for no body
        api.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)
    api.add_api_route("/version", service.version, response_model=Version)
    api.add_api_route("/metrics", service.metrics, response_class=Response)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _not_here)
    api.add_exception_handler(Refusal, _refused)
    api.add_exception_handler(Exception, _failed)
    sessions = Sessions(settings.secret)
    api.router.routes.extend(Pages(settings, lambda: service.cascade, sessions).routes())
    api.router.routes.append(Route(DOCS, lambda _: reference(api.openapi(), settings.token is not None)))
    paths = frozenset(str(getattr(route, "path", "")) for route in api.routes)
    return Door(api, settings.token, settings.limits, paths, sessions)


def _problem(request: Request, status: int, error: str, message: str) -> JSONResponse:
    problem = Problem(error=error, message=message, request_id=request.state.request_id)
    return JSONResponse(problem.model_dump(), status)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _problem(request, error.status, error.error, error.message)


def _failed(request: Request, error: Exception) -> Response:
    return _problem(request, 500, *FAILED)


def _invalid(request: Request, error: Exception) -> Response:
    """Where it is invalid and why. What was given there is left out: it may be a query's text."""
    assert isinstance(error, RequestValidationError)
    found = []
    for one in error.errors():
        where = ".".join(str(part) for part in one["loc"] if part != "body")
        # A field of another name, or the place of a JSON error, is the client's own words.
        where = "a field that does not exist" if one["type"] == "extra_forbidden" else where
        known = one["type"] != "json_invalid"
        found.append(f"{where}: {one['msg']}" if known and where else one["msg"] if known else "the body is not JSON")
    return _problem(request, 422, "invalid", "; ".join(found[:5]))


def _not_here(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is no such path; /openapi.json lists them", 405: "this path takes another method"}
    message = words.get(error.status_code, "the request cannot be read")
    reply = _problem(request, error.status_code, f"http_{error.status_code}", message)
    reply.headers.update(error.headers or {})
    return reply
