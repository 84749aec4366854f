"""Tokens to a better backbone: losses, schedules, parameter groups, the Lightning module and its datamodule."""
