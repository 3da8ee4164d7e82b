"""The evaluation protocol: warm-start contexts, the loop, scores and statistics."""
