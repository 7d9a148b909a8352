"""The same service over HTTP and JSON, for people, curl and browsers: every request with one answer."""
