"""Stacks: where the content of every frame of a series lies."""

from __future__ import annotations

from coregister.stack.frames import Frames
from coregister.stack.register import register_stack
from coregister.stack.result import StackRegistration
from coregister.stack.table import read_table

__all__ = ["Frames", "StackRegistration", "read_table", "register_stack"]
