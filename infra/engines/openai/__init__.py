"""Any OpenAI-compatible completions server as a policy, or several of them: vLLM first.

`policy` what a request says and how its reply is read · `transport` one HTTP exchange and what its end is ·
`replicas` which server is asked, and when again after it failed · `limit` how many requests at a time ·
`models` whether the right model is served · `addresses` where the servers are · `spending` tokens, money ·
`stop_tags` which tag ended a text.
"""

from infra.engines.openai.policy import OpenAIPolicy

__all__ = ["OpenAIPolicy"]
