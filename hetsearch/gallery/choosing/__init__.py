"""Which index to take: limits in a user's words, candidates measured on a sample, the simplest that meets them."""
