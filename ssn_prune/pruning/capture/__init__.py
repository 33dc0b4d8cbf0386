"""From a network to records: the producer and the consumers of each switchable layer."""
