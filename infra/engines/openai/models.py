"""Whether a server serves the model that the configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.engines.openai.transport import Answer, Failure, Kind

if TYPE_CHECKING:
    from infra.engines.openai.addresses import Address
    from infra.engines.openai.transport import Transport

_SHOWN_MODELS = 5


async def ask_for_model(
    transport: Transport, address: Address, model: str, path: str = "/models"
) -> Failure | None:
    """None if the model is served there, or if the server answers but keeps no list of its models.

    Some gateways have no `/models`; they refuse an unknown model themselves, at the first request.
    """
    reply = await transport.exchange(address, path, None)
    if isinstance(reply, Failure):
        silent = reply.kind is Kind.REFUSED or reply.status == 501
        return None if silent else reply
    served = _names(reply)
    if served is None:
        return Failure(Kind.REFUSED, "its /models is no list of models; does base_url end in /v1?")
    if model in served:
        return None
    shown = ", ".join(served[:_SHOWN_MODELS]) + (", …" if len(served) > _SHOWN_MODELS else "")
    return Failure(
        Kind.REFUSED, f"it serves {shown or 'nothing'}, not {model}; set `model` or start that one"
    )


def _names(reply: Answer) -> list[str] | None:
    try:
        return [str(each["id"]) for each in reply.content["data"]]
    except (KeyError, TypeError):
        return None
