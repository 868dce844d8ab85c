"""Owns training on several processes and machines; nothing else knows Ray."""
