"""Images that show the same picture although their files differ."""
