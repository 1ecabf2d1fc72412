"""What of an edited picture stays the original's: masks with soft edges, alignment, colours, and what really changed."""
