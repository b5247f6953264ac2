"""`avpipe demo`: the stages it goes through, and how long they take here."""
