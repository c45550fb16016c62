"""vLLM servers that we start ourselves: `environment` where vLLM is installed, `server` one server's life."""

from infra.serving.server import ModelServer

__all__ = ["ModelServer"]
