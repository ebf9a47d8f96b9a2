"""A third party's gateway between ours and the simulated upstream: the real LiteLLM proxy, without a network."""
