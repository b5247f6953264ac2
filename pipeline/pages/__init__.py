"""What people look at: pages that are one file, and pictures of clips."""
