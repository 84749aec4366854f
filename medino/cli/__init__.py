"""The `medino` command: one short file for each verb, heavy imports inside it."""
