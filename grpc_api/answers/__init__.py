"""How each request is answered from a release: plain data in and out, one module an RPC."""
