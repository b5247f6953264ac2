"""`avpipe localize`: files, pictures with sounds and cached clips become pictures and films."""
