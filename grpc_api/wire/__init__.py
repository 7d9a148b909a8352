"""Protobuf to plain data and back, and nothing else: one module an RPC."""
