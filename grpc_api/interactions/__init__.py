"""LogInteraction: from a caller's stream into the event log and the online features."""
