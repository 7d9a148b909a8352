"""Who may call: TLS, bearer tokens, and how far a server without them may be reached."""
