"""Problem sources: procedural families, files of questions, and what is dropped on the way in."""
