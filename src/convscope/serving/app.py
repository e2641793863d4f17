"""The application: routes, refusals, the door, and the queue that lives as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import convscope
from convscope.serving import pages, routes
from convscope.serving import tensorflow_serving as instances
from convscope.serving.http_errors import install_refusals
from convscope.serving.middleware import Door
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
        docs_url=None,  # these two load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    for router in (routes.router, instances.router, pages.router):
        app.include_router(router)
    install_refusals(app)
    app.add_middleware(Door, api_key=service.settings.api_key, telemetry=service.telemetry, room=service.room)
    if service.settings.cors_origin is not None:  # outside the door: a browser asks first, without the key
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[service.settings.cors_origin],
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Deadline-Ms"],
            expose_headers=["Retry-After"],
        )
    return app
