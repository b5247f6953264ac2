"""What clips cost, as it was measured, and what follows for many of them."""
