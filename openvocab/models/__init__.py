"""The model families: adapters of published checkpoints to the stage protocols, and what loads them."""
