"""Local stand-ins for cloud storage, each a process of its own on 127.0.0.1."""

OWNER = "local-owner"
"""Access key and secret of the local AWS account's owner, good for nothing but the emulator."""
