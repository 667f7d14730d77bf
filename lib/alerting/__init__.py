"""What to say, to whom and when: queue, rate limits, bundles, channels."""
