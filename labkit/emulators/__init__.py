"""Local stand-ins for cloud storage, each a process of its own on 127.0.0.1."""
