"""Policies: in-process (`transformers`), any OpenAI-compatible server (`openai`), and a script for tests."""
