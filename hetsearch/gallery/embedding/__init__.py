"""From images to shards on the disk: decoding in processes, embedding here or on a Ray cluster."""
