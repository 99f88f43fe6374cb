"""Templates of what is published on the Hub. A package (`ctcl_hf.model_cards`), so that they are installed with it."""
