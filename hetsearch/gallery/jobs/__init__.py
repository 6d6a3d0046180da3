"""What is done to a gallery: plan, build, verify, update, compact, upgrade, back-fill."""
