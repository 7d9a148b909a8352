"""What the scoring service is asked and answers, as plain data: shared by service, wire and client."""
