"""The ASGI application: routes, error handlers, middleware, and the batcher, which runs as long as the application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import convscope
from convscope.serving import pages, routes, tensorflow_serving
from convscope.serving.http_errors import install_error_handlers
from convscope.serving.middleware import ServiceMiddleware
from convscope.serving.service import Service


def make_app(service: Service) -> FastAPI:
    """The application that serves a model.

    Returns: an ASGI application whose workers start and end with its lifespan.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await service.batcher.stop()

    app = FastAPI(
        title=f"convscope: {service.name}",
        version=convscope.__version__,
        docs_url=None,  # FastAPI's documentation pages load scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    for router in (routes.router, tensorflow_serving.router, pages.router):
        app.include_router(router)
    install_error_handlers(app)
    app.add_middleware(
        ServiceMiddleware, api_key=service.settings.api_key, metrics=service.metrics, bodies=service.bodies
    )
    if service.settings.cors_origin is not None:  # outermost: a browser sends its preflight request without the key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[service.settings.cors_origin],
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Deadline-Ms"],
            expose_headers=["Retry-After"],
        )
    return app
