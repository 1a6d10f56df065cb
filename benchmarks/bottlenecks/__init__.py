"""The bottleneck the product names on real recordings, beside what is known of them."""
