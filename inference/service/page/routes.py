"""The paths of the page. What they show is computed in the rooms beside; what they write goes through the cascade."""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from inference.bundle.manifest import VERSION, BundleError
from inference.bundle.versions import Conflict, promote, serving
from inference.log.decision_log import DecisionLog, LogError
from inference.log.figures import slices
from inference.service.page import bundles, operating, review
from inference.service.page.overview import intents, overview
from inference.service.page.render import HEADERS, HERE, page
from inference.service.page.visit import PERIODS, Visit, read_form
from inference.service.session import LOGIN, PAGE, STATIC, Sessions
from inference.service.settings import Settings

if TYPE_CHECKING:
    from inference.cascade import Cascade

View = Callable[[Visit], Response]
# Not what the machine knows of endings: there a script may be plain text, which a browser does not run.
MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}
TITLES = {
    "overview": PAGE,
    "intents": f"{PAGE}/intents",
    "versions": f"{PAGE}/versions",
    "operating": f"{PAGE}/operating",
    "review": f"{PAGE}/review",
}


class Pages:
    """The page of a service. `cascade` is there once the service has started."""

    def __init__(self, settings: Settings, cascade: Callable[[], Cascade], sessions: Sessions) -> None:
        self._settings, self._cascade, self._sessions = settings, cascade, sessions
        root = settings.bundle or Path()
        self._pinned = bool(VERSION.fullmatch(root.name))  # one version's folder, which never changes
        self._home = root.parent if self._pinned else root
        self._deciding = threading.Lock()  # of two who decide on one text, the second is told

    def routes(self) -> list[Route]:
        """All paths, with who answers them."""
        views = {
            PAGE: self.overview,
            f"{PAGE}/intents": self.intents,
            f"{PAGE}/versions": self.versions,
            f"{PAGE}/versions/{{name}}": self.version,
            f"{PAGE}/versions/{{name}}/serve": self.confirm,
            f"{PAGE}/operating": self.operating,
            f"{PAGE}/review": self.review,
            LOGIN: self.login,
        }
        forms = {f"{PAGE}/serve": self.serve, f"{PAGE}/decide": self.decide, f"{PAGE}/logout": self.logout}
        return [
            *(Route(path, self._shown(view), methods=["GET"]) for path, view in views.items()),
            *(Route(path, self._taken(view), methods=["POST"]) for path, view in forms.items()),
            Route(LOGIN, self._taken(self.enter, signed=False), methods=["POST"]),
            Route(f"{PAGE}/versions/{{name}}/plots/{{file}}", self._shown(self.plot), methods=["GET"]),
            *(Route(f"{PAGE}/{name}", _static, methods=["GET"]) for name in STATIC),
        ]

    def _shown(self, view: View) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            known = self._sessions.of(dict(request.scope["headers"]))
            fresh = self._sessions.begin() if known is None and self._settings.token is None else None
            reply = self._answer(view, Visit(request, known or fresh))
            return reply if fresh is None else self._give(request, reply, fresh)

        return endpoint

    def _taken(self, view: View, signed: bool = True) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            session, form = self._sessions.of(dict(request.scope["headers"])), read_form(await request.body())
            if signed and not self._sessions.fits(session, form.get("form_token", "")):
                visit = Visit(request, session)
                return self._problem(visit, 403, "This form is too old, or not the page's own. Go back and reload it.")
            return await run_in_threadpool(self._answer, view, Visit(request, session, form))

        return endpoint

    def _answer(self, view: View, visit: Visit) -> Response:
        try:
            return view(visit)
        except Conflict as error:
            return self._problem(visit, 409, f"Somebody else was faster: {error}.")
        except LogError as error:
            return self._problem(visit, 503, str(error))
        except BundleError as error:
            return self._problem(visit, 404, str(error))
        except ValueError as error:
            return self._problem(visit, 422, str(error))
        except OSError as error:
            return self._problem(visit, 503, f"A file cannot be read or written: {error}")

    def _give(self, request: Request, reply: Response, session: str) -> Response:
        reply.headers["Set-Cookie"] = self._sessions.set_cookie(session, _is_https(request))
        return reply

    def _show(self, template: str, visit: Visit, status: int = 200, **values: Any) -> Response:
        views = [(name, visit.address(path), name == template) for name, path in TITLES.items()]
        return page(
            template, status, visit=visit, views=views, model=self._home.name or "day zero", periods=PERIODS,
            form_token=self._sessions.form_token(visit.session) if visit.session else "",
            simulated=self._settings.simulated, locked=self._settings.token is not None, **values,
        )  # fmt: skip

    def _problem(self, visit: Visit, status: int, message: str) -> Response:
        return self._show("problem", visit, status, message=message)

    def _log(self) -> DecisionLog:
        log = self._cascade().log
        if log is None:
            raise LogError(
                "This service keeps no decision log, so there are no figures: start it with a log (MONOKU_LOG)"
            )
        return log

    def _serving(self) -> Path | None:
        return self._settings.bundle if self._pinned or serving(self._home) else None

    def _fixed(self) -> str:
        """Why no other version can be made to serve here; "" where it can."""
        if self._pinned:
            return "This service serves the folder of one version, which never changes: serve models/<name> instead."
        elsewhere = "Promote with python -m training.publish, where the versions are made"
        if self._settings.fetched:
            return f"This service serves what lies at a URL. {elsewhere}, and --push."
        if self._home.is_dir() and not os.access(self._home, os.W_OK):
            return f"This service may not write to the folder of the versions. {elsewhere}."
        return ""

    def _check_switch(self) -> None:
        if why := self._fixed():
            raise ValueError(why)

    # What is shown.

    def overview(self, visit: Visit) -> Response:
        """The five figures, what answered, agreement, money."""
        cascade, period = self._cascade(), visit.period()
        values = overview(self._log(), period, self._promise(), cascade.policy.daily_usd)
        return self._show(
            "overview", visit, period=period, stats=cascade.stats(), cap=cascade.policy.daily_usd, **values
        )

    def _promise(self) -> float | None:
        wanted, bundle = self._cascade().policy.target, self._serving()
        return wanted if wanted is not None or bundle is None else operating.own_target(bundle)

    def intents(self, visit: Visit) -> Response:
        """Counts, agreement and drift by intent."""
        period, meant = visit.period(), {one.name: one.definition for one in self._cascade().taxonomy.intents}
        return self._show("intents", visit, period=period, meant=meant, **intents(self._log(), period, self._serving()))

    def versions(self, visit: Visit) -> Response:
        """All versions of the model."""
        found = bundles.listed(self._home)
        done = visit.value("served") == found["serving"]
        refused = self._cascade().stats()["refused_bundle"]
        return self._show("versions", visit, fixed=self._fixed(), done=done, refused=refused, **found)

    def version(self, visit: Visit) -> Response:
        """One version with its card."""
        return self._show("version", visit, fixed=self._fixed(), **bundles.one(self._home, _part(visit, "name")))

    def plot(self, visit: Visit) -> Response:
        """A plot of a card."""
        file = _part(visit, "file")
        content = bundles.plot(self._home, _part(visit, "name"), file)
        return Response(content, headers=HEADERS, media_type=MEDIA.get(Path(file).suffix))

    def confirm(self, visit: Visit) -> Response:
        """Whether a person means it."""
        self._check_switch()
        return self._show("confirm", visit, **bundles.one(self._home, _part(visit, "name")))

    def operating(self, visit: Visit) -> Response:
        """The operating point."""
        bundle, log, policy = self._serving(), self._cascade().log, self._cascade().policy
        if bundle is None:
            raise BundleError(
                "There is no bundle yet, so there is no operating point: train one, or wait for the refresh"
            )
        found = slices(log, [visit.period()])[0] if log is not None else None
        own = operating.traffic(found, _whole(visit.value("volume")))
        at = _share(visit.value("at"))
        values = operating.operating(bundle, own, at, policy.first_sample_rate)
        return self._show("operating", visit, **values)

    def review(self, visit: Visit) -> Response:
        """What waits for a person, where decisions can be written."""
        log, names = self._log(), self._cascade().taxonomy.names
        try:
            log.check()
        except LogError as error:
            return self._show("review", visit, readonly=str(error), names=names)
        found = review.queue(log, self._cascade().taxonomy.question_id(), visit.period())
        return self._show(
            "review", visit, readonly="", names=names, queue=found, some=found.waiting[: review.AT_ONCE],
            saved=_whole(visit.value("saved")), missed=_whole(visit.value("missed")),
        )  # fmt: skip

    def login(self, visit: Visit) -> Response:
        """Where the token is given."""
        return self._show("login", visit, wrong=False)

    # What is written.

    def enter(self, visit: Visit) -> Response:
        """Give a session to whoever has the token."""
        token = self._settings.token
        if token is None or not hmac.compare_digest(visit.value("token").strip().encode(), token.encode()):
            return self._show("login", visit, 403, wrong=True)
        return self._give(visit.request, RedirectResponse(PAGE, 303), self._sessions.begin())

    def logout(self, visit: Visit) -> Response:
        """End the session in this browser."""
        return self._give(visit.request, RedirectResponse(LOGIN if self._settings.token else PAGE, 303), "")

    def serve(self, visit: Visit) -> Response:
        """Let another version serve, unless somebody else did so since."""
        name, forced = visit.value("version"), visit.value("force") == "yes"
        self._check_switch()
        bundles.known(self._home, name)
        promote(self._home, name, forced, seen=visit.value("seen") or None)
        return RedirectResponse(visit.address(TITLES["versions"], served=name), 303)

    def decide(self, visit: Visit) -> Response:
        """Take decisions about queries as corrections."""
        with self._deciding:
            saved, missed = review.decide(self._cascade(), self._log(), _choices(visit.form))
        return RedirectResponse(visit.address(TITLES["review"], saved=saved, missed=missed or ""), 303)


def _is_https(request: Request) -> bool:
    """Whether the browser spoke HTTPS, to us or to a proxy before us."""
    # Whoever says so and lies is given a cookie that his browser does not send.
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", ""))


def _static(request: Request) -> Response:
    path = HERE / "static" / request.url.path.rpartition("/")[2]
    return Response(path.read_bytes(), headers=HEADERS, media_type=MEDIA[path.suffix])


def _part(visit: Visit, name: str) -> str:
    return str(visit.request.path_params[name])


def _choices(form: Mapping[str, str]) -> review.Choices:
    made = {name: intent for name, intent in form.items() if intent}
    again = {name.removeprefix("again."): intent for name, intent in made.items() if name.startswith("again.")}
    return review.Choices(
        {name.removeprefix("of."): intent for name, intent in made.items() if name.startswith("of.")},
        {key: (form.get(f"was.{key}", ""), intent) for key, intent in again.items()},
    )


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= 12 else None


def _share(text: str) -> float | None:
    """A share that the address gives in per cent."""
    try:
        found = float(text) / 100
    except ValueError:
        return None
    return found if 0 <= found <= 1 else None
