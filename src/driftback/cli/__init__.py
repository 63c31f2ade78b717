"""A thin skin over the recipes: one command for each verb, with `--seed` and `--json` on all of them."""
