"""Stacks: where the content of every frame of a series lies."""

from __future__ import annotations

from coregister.stack.frames import Frames
from coregister.stack.register import register_stack
from coregister.stack.result import StackRegistration

__all__ = ["Frames", "StackRegistration", "register_stack"]
