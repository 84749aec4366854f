"""What people look at: W&B, figures, the HTML report."""
