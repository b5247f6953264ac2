"""What each stage does: one plain function per file, from shard to shard."""
