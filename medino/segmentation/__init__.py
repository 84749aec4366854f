"""Features to masks: heads, the Lightning module and its datamodule."""
